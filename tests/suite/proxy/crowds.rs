//! Attack 20 on the proxy: many connections that are silent, or slow.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::{KEY, Served, Variables, curl, served, start_proxy};
use crate::support::traces::kib;
use crate::support::wrapped_in;

/// The most memory that 2,048 connections take, most of them in tunnels.
const MEMORY: u64 = 200 * 1024;

/// Opens connections to the proxy and keeps as many as this process may. Each does one of the things that
/// take a place: nothing; a part of a head; a tunnel without a handshake; a handshake byte by byte.
fn crowd(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let kept = getrlimit(Resource::Nofile).current.unwrap_or(8192).min(8192) / 2;
    let kept = usize::try_from(kept).unwrap();

    let served = served();
    served.allow("stripe-key", &[]);
    let (proxy, variables) = start_proxy(&served);
    let pid = Pid::from_child(&proxy);
    let before = kib(pid, "VmRSS:");
    let address = variables["HTTPS_PROXY"].as_str().unwrap().strip_prefix("http://").unwrap();
    let target = served.url("").replace("https://", "");
    let mut silent = VecDeque::new();
    for number in 0..connections {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        match number % 16 {
            0..4 => {}
            4..14 => stream.write_all(&head.as_bytes()[..20]).unwrap(),
            14 => stream.write_all(head.as_bytes()).unwrap(),
            _ => {
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.read(&mut [0; 256]);
                let _ = stream.write_all(&[22, 3, 1, 2]);
            }
        }

        silent.push_back(stream);
        if silent.len() > kept {
            silent.pop_front();
        }

        if number % 500 == 499 {
            assert_serves(&served, &variables, number);
        }
    }

    assert_serves(&served, &variables, connections);
    let more = kib(pid, "VmHWM:").saturating_sub(before);
    assert!(more < MEMORY, "{more} KiB more");
    kill_process(pid, Signal::TERM).unwrap();
    proxy.wait_with_output().unwrap();
}

#[track_caller]
fn assert_serves(served: &Served, variables: &Variables, number: usize) {
    let output = curl(&["timeout", "20"], served, variables);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("authorization: Bearer"), "after {number}: {text} {errors}");
    let received = served.origin.log.take();
    assert!(received.iter().any(|one| one.header("authorization").ends_with(KEY)));
}

#[test]
fn ten_thousand_silent_connections_give_way() {
    crowd(10_000);
}

/// Programs such as those that use `select` depend on the limit that their user has set.
#[test]
fn a_program_keeps_its_limit_of_open_files() {
    let served = served();
    served.allow("stripe-key", &[]);
    let shell = ["sh", "-c", "ulimit -Sn 300; exec \"$@\"", "sh"];
    let run = served.command(["run", "--proxy", "-q", "--", "sh", "-c", "ulimit -Sn"]);
    let output = wrapped_in(&shell, &run).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "300\n");
}
