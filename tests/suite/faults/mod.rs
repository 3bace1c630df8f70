//! A fault at every call into the file system: SIGKILL, a full disk and a broken disk, at each call
//! of each command that writes. Afterwards the vault is in the old state or the new one. An
//! acknowledged change is in the new state and was flushed, and the next command leaves nothing
//! behind.
//!
//! `strace` counts a command's calls, then fails or kills it at one after the other. A kill before
//! a call that changes nothing equals a kill before the next call that does, so kills and full
//! disks are only tried at calls that change something. A broken disk (EIO) is tried at all. If
//! strace is not available, the tests report that on stderr and pass, as in `output_faults`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Sandbox;
use crate::support::faults::strace_is_here;

use cases::CASES;
use plan::Plan;
use trace::Fault;

mod cases;
mod disk;
mod plan;
mod states;
mod trace;

/// Tries every `stride`th fault of every case, on all processors.
fn inject(stride: usize) {
    if !strace_is_here() {
        return;
    }

    let plans: Vec<Plan> =
        CASES.iter().map(|case| Plan::of(case, &Sandbox::with_state_inside())).collect();
    let jobs: Vec<(&Plan, &Fault)> = plans
        .iter()
        .flat_map(|plan| plan.faults.iter().map(move |fault| (plan, fault)))
        .step_by(stride)
        .collect();

    let wrong: Vec<String> = plans.iter().flat_map(|plan| plan.wrong.clone()).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(wrong));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let sandbox = Sandbox::with_state_inside();
                while let Some((plan, fault)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = plan.run_with(fault, &sandbox);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });

    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} runs:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

/// The last test of this file is a long one and tries a fault at every call.
#[test]
fn a_fault_at_some_calls_of_each_command_leaves_the_old_state_or_the_new() {
    inject(787);
}

#[test]
#[ignore = "a minute; needs strace"]
fn a_fault_at_one_call_in_nineteen_of_each_command_leaves_the_old_state_or_the_new() {
    inject(19);
}

/// `just test-faults` runs this. The calls that the long tests take change with every command
/// that is added.
#[test]
#[ignore = "a quarter of an hour; needs strace"]
fn a_fault_at_every_call_of_each_command_leaves_the_old_state_or_the_new() {
    inject(1);
}
