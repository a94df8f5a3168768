//! Requests that may be answered with what is kept: RFC 9111 on top of the library's cache.
//!
//! What is fresh, what may be used stale and what is kept is [`crate::judgement`]'s decision. One load a key however
//! many ask, the limit, the breaker, the deadline and stale answers when a load fails are the library's. A response
//! that is for one client alone goes to the client whose load it was, and the others ask for themselves.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Response, StatusCode};
use seawall::{Answer, Freshness, Options, Source};

use crate::answers;
use crate::body::{Body, Upload};
use crate::clock::unix_ms;
use crate::control::Asked;
use crate::exchange::Exchange;
use crate::judgement::{self, Use};
use crate::load::Errand;
use crate::passing::pass;
use crate::site::How;
use crate::stored::{self, Stored};

/// A key is looked for under so many names, because `Vary` is known only once a response has come.
const ROUNDS: usize = 3;

/// What the look into memory came to.
enum Looked {
    Answer(Response<Body>),
    /// There is something that may not be used as it is.
    Ask {
        previous: Stored,
        /// Whether it may stand in when the upstream fails; `None` when the guard's policy alone decides.
        on_error: Option<bool>,
        /// The cache thinks that it is fresh, and the request does not.
        doubted: bool,
    },
    Nothing,
}

/// Answers a request that may be answered with what is kept.
pub(crate) async fn serve(exchange: &Arc<Exchange>, asked: &Asked) -> Response<Body> {
    let keep = &exchange.site.keep;
    for _ in 0..ROUNDS {
        let key = keep.vary.key(&exchange.resource, &exchange.headers);
        let looked = look(exchange, asked, &key);
        let (previous, on_error, doubted) = match looked {
            Looked::Answer(response) => return response,
            Looked::Ask {
                previous,
                on_error,
                doubted,
            } => (Some(previous), on_error, doubted),
            Looked::Nothing => (None, None, false),
        };
        if asked.only_if_cached {
            let mut response = answers::text(StatusCode::GATEWAY_TIMEOUT, "nothing is kept that fits");
            exchange.mark(&mut response, format_args!("detail=only-if-cached"));
            return exchange.ended(How::Miss, response);
        }
        let why = why(asked, previous.is_some(), &key, exchange);
        if exchange.method == Method::HEAD || keep.is_passed(&key) {
            return Box::pin(pass(exchange, exchange.headers.clone(), Upload::Empty, why)).await;
        }
        let mut options = Options::new().priority(exchange.route.priority);
        if on_error == Some(false) {
            options = options.max_stale(Duration::ZERO);
        }
        if doubted || asked.no_cache {
            options = options.bypass();
        } else if let Some(age) = asked.max_age {
            // What another tier holds.
            options = options.fresh_for(Duration::from_secs(age));
        }
        match Box::pin(load(exchange, asked, &key, previous, options, why)).await {
            Loaded::Response(response) => return response,
            Loaded::Other => {}
            Loaded::Alone => {
                let headers = exchange.headers.clone();
                return Box::pin(pass(exchange, headers, Upload::Empty, why)).await;
            }
        }
    }
    Box::pin(pass(
        exchange,
        exchange.headers.clone(),
        Upload::Empty,
        "vary-miss",
    ))
    .await
}

fn why(asked: &Asked, held: bool, key: &Arc<str>, exchange: &Exchange) -> &'static str {
    if asked.no_cache || (held && asked.max_age.is_some()) {
        "request"
    } else if held {
        "stale"
    } else if *key != exchange.resource {
        "vary-miss"
    } else {
        "uri-miss"
    }
}

/// Looks into memory.
fn look(exchange: &Arc<Exchange>, asked: &Asked, key: &Arc<str>) -> Looked {
    const PLAIN: Options = Options::new();
    let keep = &exchange.site.keep;
    let fresh = keep.cache.hit(key, &PLAIN);
    let doubted = fresh.is_some();
    let Some(Answer {
        value: Some(stored), ..
    }) = fresh.or_else(|| keep.cache.held(key))
    else {
        return Looked::Nothing;
    };
    let Some(response) = stored.get().filter(|response| fits(exchange, response)) else {
        return Looked::Nothing;
    };
    let now_ms = unix_ms();
    let use_ = judgement::reuse(now_ms, asked, response);
    let on_error = match use_ {
        Use::Fresh if doubted => return Looked::Answer(answer(exchange, response, now_ms, How::Hit, "hit")),
        Use::StaleAllowed => {
            return Looked::Answer(answer(
                exchange,
                response,
                now_ms,
                How::Stale,
                "hit; detail=max-stale",
            ));
        }
        Use::StaleWhileRevalidate => {
            let what = "hit; detail=stale-while-revalidate";
            let answer = answer(exchange, response, now_ms, How::Stale, what);
            refresh(exchange, key, &stored);
            return Looked::Answer(answer);
        }
        // By its age it would do, but the guard wants it anew.
        Use::Fresh => response.told.forbids_stale().then_some(0),
        Use::Ask { on_error } => on_error,
    };
    // The guard counts from when it was stored, and it may have been stale already.
    let past = response.age_at(now_ms).saturating_sub(response.lifetime);
    let on_error = on_error.map(|bound| past < bound);
    Looked::Ask {
        previous: stored,
        on_error,
        doubted,
    }
}

/// Whether what is kept may answer this request at all (RFC 9111, 4.1; stricter than 3.5 on purpose).
fn fits(exchange: &Exchange, response: &stored::Response) -> bool {
    let credentials = exchange.headers.contains_key(AUTHORIZATION);
    (!credentials || response.told.is_for_all()) && response.is_chosen_by(&exchange.headers)
}

/// What a load came to.
enum Loaded {
    Response(Response<Body>),
    /// A response to another request.
    Other,
    /// Something that is for nobody but who asked for it: it has to be asked for again.
    Alone,
}

async fn load(
    exchange: &Arc<Exchange>,
    asked: &Asked,
    key: &Arc<str>,
    previous: Option<Stored>,
    options: Options,
    why: &'static str,
) -> Loaded {
    let place = match exchange.enter().await {
        Ok(place) => place,
        Err(response) => return Loaded::Response(response),
    };
    let errand = Errand::new(exchange, key, previous);
    let result = {
        let errand = Arc::clone(&errand);
        let load = move || {
            let errand = Arc::clone(&errand);
            async move { errand.load().await }
        };
        exchange
            .site
            .keep
            .cache
            .get_or_load_full(key, &options, load)
            .await
    };
    exchange.gateway.door.record(result.is_ok());
    let given = errand.take();
    let is_pass =
        |answer: &Answer<Stored>| answer.value.as_ref().is_some_and(|stored| stored.get().is_none());
    let answer = match (result, given) {
        // It came with this request's own load, and is for nobody else.
        (Ok(answer), Some(mut response)) if is_pass(&answer) => {
            let status = response.status().as_u16();
            exchange.mark(&mut response, format_args!("fwd={why}; fwd-status={status}"));
            let response = response.map(|body| body.holding(Some(place)));
            return Loaded::Response(exchange.ended(How::Miss, response));
        }
        // What else was given belongs to an attempt that failed, and for which something stands in.
        (Ok(answer), _) => answer,
        (Err(error), given) => {
            let (mut response, shed) = match given {
                Some(response) => (response.map(|body| body.holding(Some(place))), None),
                None => answers::unloaded(&error),
            };
            let how = if let Some(reason) = shed {
                exchange.gateway.door.count(reason);
                How::Shed
            } else {
                How::Miss
            };
            exchange.mark(&mut response, format_args!("fwd={why}; detail=failed"));
            return Loaded::Response(exchange.ended(how, response));
        }
    };
    judge(exchange, asked, &answer, why)
}

/// Whether what a load brought is an answer to this request.
fn judge(exchange: &Arc<Exchange>, asked: &Asked, given: &Answer<Stored>, why: &str) -> Loaded {
    let Some(stored) = &given.value else {
        return Loaded::Alone;
    };
    let Some(response) = stored.get() else {
        return Loaded::Alone;
    };
    if !response.is_chosen_by(&exchange.headers) {
        return Loaded::Other;
    }
    let own = given.source == Source::Origin;
    if !own && !fits(exchange, response) {
        return Loaded::Alone;
    }
    let now_ms = unix_ms();
    let (how, what) = match (given.freshness, given.source) {
        (Freshness::Stale, _) if response.told.forbids_stale() => {
            let mut response = answers::text(StatusCode::GATEWAY_TIMEOUT, "it could not be asked for anew");
            exchange.mark(&mut response, format_args!("fwd={why}; detail=must-revalidate"));
            return Loaded::Response(exchange.ended(How::Miss, response));
        }
        (Freshness::Stale, _) => (How::Stale, "hit; fwd=stale; detail=stale-if-error".to_owned()),
        (Freshness::Fresh, Source::Origin) => {
            let status = if response.received_ms >= exchange.came_ms {
                "; stored"
            } else {
                ""
            };
            (How::Miss, format!("fwd={why}{status}"))
        }
        (Freshness::Fresh, Source::Shared) => {
            // A load that was over before this request came is no answer to it unless it is fresh.
            let before = response.received_ms < exchange.came_ms;
            if before && judgement::reuse(now_ms, asked, response) != Use::Fresh {
                return Loaded::Alone;
            }
            (How::Miss, format!("fwd={why}; collapsed"))
        }
        // From another tier, whose clock is not the guard's of this process.
        (Freshness::Fresh, _) => {
            if judgement::reuse(now_ms, asked, response) != Use::Fresh {
                return Loaded::Alone;
            }
            (How::Hit, "hit".to_owned())
        }
    };
    Loaded::Response(answer(exchange, response, now_ms, how, &what))
}

/// Asks for something anew, in the background.
fn refresh(exchange: &Arc<Exchange>, key: &Arc<str>, stored: &Stored) {
    let Some(refreshing) = exchange.site.keep.refresh(key, exchange.site.refreshes_max) else {
        return;
    };
    let errand = Errand::new(exchange, key, Some(stored.clone()));
    let (exchange, key) = (Arc::clone(exchange), Arc::clone(key));
    tokio::spawn(async move {
        let options = Options::new().priority(exchange.route.priority).bypass();
        let load = move || {
            let errand = Arc::clone(&errand);
            async move { errand.load().await }
        };
        if let Err(error) = exchange
            .site
            .keep
            .cache
            .get_or_load_full(&key, &options, load)
            .await
        {
            tracing::debug!("a refresh failed: {error}");
        }
        drop(refreshing);
    });
}

/// What is kept, as an answer to this request.
fn answer(
    exchange: &Exchange,
    stored: &stored::Response,
    now_ms: u64,
    how: How,
    what: &str,
) -> Response<Body> {
    let age = stored.age_at(now_ms);
    let not_modified = judgement::is_not_modified(&exchange.headers, stored);
    let mut response = Response::new(if not_modified || exchange.method == Method::HEAD {
        Body::empty()
    } else {
        Body::Whole(stored.body.clone())
    });
    let status = if how == How::Miss {
        exchange.status(format_args!("{what}"))
    } else {
        // Neither is longer than can be said in 32 bits.
        let ttl = stored.lifetime.cast_signed() - age.cast_signed();
        exchange.status(format_args!("{what}; ttl={ttl}"))
    };
    *response.headers_mut() = stored.head.answer(age, status);
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_LENGTH);
    } else {
        *response.status_mut() = stored.status;
        if exchange.method == Method::HEAD {
            let length = HeaderValue::from(stored.body.len() as u64);
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
    }
    exchange.ended(how, response)
}
