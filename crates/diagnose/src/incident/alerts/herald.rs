//! Posts notices of incidents to an address: in order, each a few times if need be, never waiting for long.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::Notice;
use crate::probe::{Fault, Target, Why, basic, dial};

/// Notices that wait; more are not taken.
const WAITING_MAX: usize = 32;
/// One post takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses before it is tried again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];

/// What came of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken.
    Taken,
    /// It was not, and why; it will not be tried again. What comes later holds all of it too.
    Lost(String),
}

/// Sends notices.
#[derive(Debug)]
pub struct Herald {
    notices: mpsc::Sender<Notice>,
    told: mpsc::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Herald {
    /// Sends to this address, from a task of the runtime that it is called in.
    pub fn new(target: Target) -> Herald {
        let (notices, mut waiting) = mpsc::channel::<Notice>(WAITING_MAX);
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(async move {
            while let Some(notice) = waiting.recv().await {
                let came = match send(&target, &notice).await {
                    Ok(()) => Told::Taken,
                    Err(fault) => Told::Lost(fault.to_string()),
                };
                // Nobody has to listen to what came of it.
                let _ = tell.try_send(came);
            }
        });
        Herald { notices, told, task }
    }

    /// Sends a notice when those before it are sent. Whether there was room for it.
    pub fn send(&self, notice: Notice) -> bool {
        self.notices.try_send(notice).is_ok()
    }

    /// What came of notices since it was last asked.
    pub fn told(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    /// Sends what waits, for so long at most, and ends. What came of it.
    pub async fn end(self, patience: Duration) -> Vec<Told> {
        let Herald {
            notices,
            mut told,
            mut task,
        } = self;
        drop(notices);
        let done = tokio::time::timeout(patience, &mut task).await;
        if done.is_err() {
            task.abort();
        }
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }
}

async fn send(target: &Target, notice: &Notice) -> Result<(), Fault> {
    let mut pauses = PAUSES.iter();
    loop {
        let (fault, again) = match post(target, notice, Instant::now() + PATIENCE).await {
            Ok(200..=299) => return Ok(()),
            Ok(status) => {
                let again = status == 429 || status >= 500;
                (Fault::new(Why::Error, format!("status {status}")), again)
            }
            Err(fault) => (fault, true),
        };
        match pauses.next() {
            Some(pause) if again => sleep(*pause).await,
            _ => return Err(fault),
        }
    }
}

/// One post: the status of its answer.
async fn post(target: &Target, notice: &Notice, deadline: Instant) -> Result<u16, Fault> {
    let io = TokioIo::new(dial(target, deadline).await?);
    let request = request(target, notice)?;
    let asked = async {
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| of(&error))?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        // The answer's words are not read, and the connection goes with them.
        driver.abort();
        answer
            .map(|answer| answer.status().as_u16())
            .map_err(|error| of(&error))
    };
    let answer = timeout_at(deadline, asked).await;
    answer.unwrap_or_else(|_| Err(Fault::new(Why::TimedOut, "no answer to the post in time")))
}

fn of(error: &hyper::Error) -> Fault {
    if error.is_parse() {
        return Fault::new(Why::Garbage, "what came is not HTTP");
    }
    Fault::new(Why::Error, error.to_string())
}

fn request(
    target: &Target,
    notice: &Notice,
) -> Result<Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>, Fault> {
    let wrong = |error: &dyn std::fmt::Display| {
        Fault::new(Why::Error, format!("the address cannot be posted to: {error}"))
    };
    let body = Full::new(Bytes::from(notice.text())).boxed();
    let mut request = Request::post(target.path_and_query())
        .body(body)
        .map_err(|error| wrong(&error))?;
    let host = if target.host().contains(':') {
        format!("[{}]:{}", target.host(), target.port())
    } else {
        format!("{}:{}", target.host(), target.port())
    };
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| wrong(&error))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("seawall"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(login) = basic(target) {
        headers.insert(AUTHORIZATION, login.map_err(|error| wrong(&error))?);
    }
    Ok(request)
}
