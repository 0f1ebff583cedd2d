//! TCP connections to two addresses in turn: their difference is what NAT-f adds.

use std::{
    error::Error,
    io::{Read as _, Write as _},
    net::{SocketAddrV4, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{Outcome, median};

const PATIENCE: Duration = Duration::from_secs(5);

/// Accepts for ever: one byte in, the same byte out, closed by the peer first.
pub fn accept(at: SocketAddrV4) -> Outcome {
    for stream in TcpListener::bind(at)?.incoming() {
        let mut stream = stream?;
        let mut byte = [0];
        while stream.read(&mut byte).unwrap_or(0) == 1 {
            stream.write_all(&byte)?;
        }
    }
    Ok(())
}

/// Connects in turn; prints the medians of the time until the connection stood.
pub fn compare(one: SocketAddrV4, other: SocketAddrV4, count: u32) -> Outcome {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for _ in 0..count {
        ones.push(connect(one)?);
        others.push(connect(other)?);
    }
    let (one_us, other_us) = (median(&mut ones), median(&mut others));
    println!("{}", json!({"first_us": one_us, "second_us": other_us, "difference_us": one_us - other_us}));
    Ok(())
}

fn connect(to: SocketAddrV4) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    let took = start.elapsed().as_secs_f64() * 1e6;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(took)
}
