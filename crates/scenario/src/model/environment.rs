//! Where a scenario may be drilled, and with what.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value as Json, json};

use crate::element::element;
use crate::form::{Count, Flag, Form, HostPort, List, Text};
use crate::model::Place;
use crate::node::Node;
use crate::reader::{self, Reader};

element! {
    /// Where the scenario may be drilled: on real servers, nothing is touched that is not declared a test environment.
    #[derive(Default)]
    pub struct Environment, "[environment]", check = check {
        /// Whether everything named here may be broken on purpose.
        test: bool, default Flag = false;
        /// What people call the environment.
        name: Option<String>, optional Text;
        /// The most requests a second that a drill may send.
        rate_max: Option<u32>, optional Count;
        /// Hosts beyond this machine whose targets may be touched.
        allow: Vec<String>, default List<Text> = Vec::new();
        /// Components that run already, each with its address.
        at: Vec<(Place, String)>, default Targets = Vec::new();
        /// Services that are a program of one's own, which the drill starts.
        run: Vec<(Place, Command)>, default Commands = Vec::new();
    }
}

element! {
    /// A program that a drill starts in the place of a service. In its words and variables, `{port}` is where it has to
    /// listen, and `{NAME}` the address of another component: of a node each, with commas between them.
    pub struct Command, "a program", check = check_command {
        /// The program and its words.
        command: Vec<String>, required List<Text>;
        /// Variables of its environment.
        env: Vec<(String, String)>, default Variables = Vec::new();
        /// What is asked of it, with `{key}` in the place of the key.
        path: String, default Text = "/{key}".to_owned();
        /// What is asked of it until it answers well: then it is ready.
        ready: String, default Text = "/".to_owned();
        /// Whether its answers are the values of the table `things`, so that they can be checked.
        checked: bool, default Flag = false;
    }
}

/// Components by name, each with an address.
struct Targets;

impl Form for Targets {
    type Out = Vec<(Place, String)>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Self::Out> {
        let entries = named(cx, node)?;
        let read = entries
            .into_iter()
            .map(|(place, node)| Some((place, HostPort::read(cx, node)?)));
        read.collect()
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": HostPort::schema() })
    }
}

/// Services by name, each with its program.
struct Commands;

impl Form for Commands {
    type Out = Vec<(Place, Command)>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Self::Out> {
        let mut read = Vec::new();
        for (place, node) in named(cx, node)? {
            if !matches!(place, Place::Service(_)) {
                cx.mistake(
                    node.at,
                    "only a service can be a program of one's own",
                    "no service",
                    "name a service",
                );
                return None;
            }
            read.push((place, Command::read(cx, node)?));
        }
        Some(read)
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": Command::schema() })
    }
}

/// Names of variables, each with its value.
struct Variables;

impl Form for Variables {
    type Out = Vec<(String, String)>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Self::Out> {
        let read = node.entries().iter().map(|entry| {
            let value = cx.text(&entry.node, "the value of a variable")?;
            Some((entry.key.clone(), value.to_owned()))
        });
        read.collect()
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

/// The components that a table names.
fn named<'n>(cx: &mut Reader, node: &'n Node) -> Option<Vec<(Place, &'n Node)>> {
    let mut found = Vec::new();
    for entry in node.entries() {
        let place = cx
            .names
            .iter()
            .find(|(name, _)| *name == entry.key)
            .map(|(_, place)| *place);
        let Some(place) = place else {
            let known: Vec<&str> = cx.names.iter().map(|(name, _)| name.as_str()).collect();
            let help = reader::suggestion(&entry.key, &known);
            let message = format!("there is no component called `{}`", reader::clip(&entry.key));
            cx.mistake(entry.key_at, message, "refers to nothing", help);
            return None;
        };
        found.push((place, &entry.node));
    }
    Some(found)
}

fn check(cx: &mut Reader, node: &Node, environment: &Environment) {
    let nodes = node.field("at").map_or(&[][..], Node::entries);
    for ((_, address), entry) in environment.at.iter().zip(nodes) {
        if !environment.allows(address) {
            cx.mistake(
                entry.node.at,
                "this is beyond this machine, and `allow` does not name its host",
                "not allowed",
                "if it may be broken on purpose, add its host to `allow`; production may not",
            );
        }
    }
}

fn check_command(cx: &mut Reader, node: &Node, program: &Command) {
    if program.command.is_empty() {
        cx.mistake(
            node.at_field("command"),
            "there is no program to start",
            "empty",
            "write it as [\"./server\", \"--port\", \"{port}\"]",
        );
    }
}

impl Environment {
    /// Whether a target at this address (`host:port`) may be touched: it is on this machine, or its host is allowed.
    pub fn allows(&self, address: &str) -> bool {
        let host = match address.parse::<SocketAddr>() {
            Ok(address) => address.ip().to_string(),
            Err(_) => address
                .rsplit_once(':')
                .map_or(address, |(host, _)| host)
                .to_owned(),
        };
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        here || self.allow.contains(&host)
    }
}
