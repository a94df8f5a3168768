//! The command line: one file a subcommand, and nothing here but wiring.
//!
//! Exit status: 0 when all expectations were met, 1 when some were not, 2 when the input is wrong (the message says
//! where and how to mend it), 3 when the command could not be carried out. A drill has more of them: see `drill`.

mod app;
mod audit;
mod builtin;
mod cache_server;
mod check;
mod diagnose;
mod drill;
mod explain;
mod gateway;
mod init;
mod keeper;
mod limits;
mod live;
mod load;
mod log;
mod output;
mod playing;
mod progress;
mod protections;
mod proxy;
#[cfg(test)]
mod reference;
mod scenarios;
mod schema;
mod simulate;
mod source;
mod stop;
mod sweep;
mod telling;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps a service standing when its cache falls.
#[derive(Parser)]
#[command(
    name = "seawall",
    version,
    about = "Keeps a service standing when its cache falls",
    after_help = "\
Start here:
  seawall scenarios                what is built in
  seawall simulate redis-down      what happens when the cache dies, with and without protection
  seawall explain redis-down       the arithmetic behind it
  seawall limits redis-down        from which traffic on it stays down, and what saves it

Exit status: 0 expectations met; 1 some not met; 2 the input is wrong; 3 it could not be done."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Simulate(simulate::Arguments),
    Sweep(sweep::Arguments),
    Limits(limits::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Scenarios(scenarios::Arguments),
    Schema(schema::Arguments),
    Drill(drill::Arguments),
    Diagnose(diagnose::Arguments),
    Audit(audit::Arguments),
    Watch(watch::Arguments),
    Init(init::Arguments),
    Gateway(gateway::Arguments),
    Proxy(proxy::Arguments),
    Load(load::Arguments),
    CacheServer(cache_server::Arguments),
    App(app::Arguments),
    Keeper(keeper::Arguments),
}

/// A gateway's requests, and a run's, are many small things made and dropped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Scenarios(arguments) => scenarios::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Drill(arguments) => match drill::run(&arguments) {
            // A drill can end in more ways.
            Ok(status) => return status,
            Err(stop) => Err(stop),
        },
        Command::Diagnose(arguments) => match diagnose::run(&arguments) {
            Ok(status) => return status,
            Err(stop) => Err(stop),
        },
        Command::Watch(arguments) => match watch::run(&arguments) {
            Ok(status) => return status,
            Err(stop) => Err(stop),
        },
        Command::Audit(arguments) => match audit::run(&arguments) {
            Ok(status) => return status,
            Err(stop) => Err(stop),
        },
        Command::Init(arguments) => init::run(&arguments),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::Proxy(arguments) => proxy::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::CacheServer(arguments) => cache_server::run(&arguments),
        Command::App(arguments) => app::run(&arguments),
        Command::Keeper(arguments) => keeper::run(&arguments),
    };
    match done {
        Ok(met) => ExitCode::from(u8::from(!met)),
        Err(stop) => {
            stop.tell();
            stop.status()
        }
    }
}
