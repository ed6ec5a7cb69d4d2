//! smoltcp as the other end of a link (`interop`) and as what the stack is compared with: see ../README.md.

mod bench;
mod common;
mod interop;
mod queue;

use std::process::ExitCode;
use std::str::FromStr;

const USAGE: &str = "usage: smoltcp-peer interop listen|connect 4|6 PORT BYTES at-once|after RATE PAUSE WINDOW SEED
       smoltcp-peer bulk WINDOW SECONDS CHECKED | small WINDOW SECONDS | connect WINDOW SECONDS";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match start(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("smoltcp-peer: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn start(args: &[&str]) -> Option<std::io::Result<()>> {
    match *args {
        ["interop", role, family, port, bytes, start, rate, pause, window, seed] => {
            return Some(interop::run(interop::Options {
                listen: role == "listen",
                six: family == "6",
                port: number(port)?,
                bytes: number(bytes)?,
                after: start == "after",
                rate: number(rate)?,
                pause: number(pause)?,
                window: number(window)?,
                seed: number(seed)?,
            }))
        }
        ["bulk", window, seconds, checked] => bench::bulk(number(window)?, number(seconds)?, number(checked)?),
        ["small", window, seconds] => bench::small(number(window)?, number(seconds)?),
        ["connect", window, seconds] => bench::connect(number(window)?, number(seconds)?),
        _ => return None,
    }
    Some(Ok(()))
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}
