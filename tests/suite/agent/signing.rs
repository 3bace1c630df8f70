//! The agent signs the next head of a project, and nothing else.

use std::os::unix::net::UnixStream;

use terminal_secrets::agent::{AgentFault, Answer, Request, SignFrame};
use terminal_secrets::crypto::audit::{Action, Admitted, AuditChange, AuditEntry, SignedEntry};
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::{DIRECTORY, OWNER, ProjectId};
use terminal_secrets::crypto::rows::{PolicyRow, ProjectRow};
use terminal_secrets::crypto::signing::PublicKey;
use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::OpenedProject;

use crate::support::project;
use crate::support::specimen::{self, Specimen, VAULT_ID};

use super::watched::Watched;
use super::{ask, decoded};

/// A little more than the greatest difference between the clocks of client and agent.
const TOO_FAR: u64 = 5 * 60 * 1000 + 20_000;

/// A request to sign a head, to be changed by a test.
#[derive(Clone)]
pub(super) struct ToSign {
    pub(super) ticket: Vec<u8>,
    previous: ProjectRow,
    policy: Option<PolicyRow>,
    pid: ProjectId,
    epoch: u32,
    head: Head,
    change: Vec<u8>,
    /// The bytes of the head, if they are not its encoding
    encoded: Option<Vec<u8>>,
}

/// Returns a request that the agent fulfils: a next head with other content.
pub(super) fn request(watched: &Watched, found: &OpenedProject) -> ToSign {
    let (pid, epoch) = (found.entry.pid, found.entry.epoch);
    ToSign {
        ticket: found.ticket.to_vec(),
        previous: watched.row(&pid),
        policy: None,
        pid,
        epoch,
        head: next(&watched.head(found), pid, epoch),
        change: update("one").encode(),
        encoded: None,
    }
}

/// Returns an update of one secret, for the audit log.
fn update(tag: &str) -> AuditChange {
    let mut change = AuditChange::new(Action::Update);
    change.add([1; 8], tag);
    change
}

/// Returns a head that follows another one.
fn next(before: &Head, pid: ProjectId, epoch: u32) -> Head {
    Head {
        seq: before.seq + 1,
        root_hash: [6; 32],
        time: Timestamp::now().0,
        signer_id: OWNER,
        ancestors: before.ancestors.then(&before.hash(&VAULT_ID, &pid, epoch)),
        ..before.clone()
    }
}

impl ToSign {
    /// Returns the frame, which borrows from this.
    pub(super) fn request<'a>(&'a self, watched: &'a Watched) -> Request<'a> {
        // A frame borrows the encoded head. The test ends before the leak matters.
        let encoded = self.head.encode(&VAULT_ID, &self.pid, self.epoch);
        let head = self.encoded.clone().unwrap_or(encoded).leak();
        Request::Sign(Box::new(SignFrame {
            path: watched.path(),
            ticket: &self.ticket,
            previous: self.previous.clone(),
            policy: self.policy.clone(),
            head,
            change: &self.change,
        }))
    }
}

/// Has a head signed. Returns it with its signature and its entry.
#[track_caller]
pub(super) fn signed(
    watched: &Watched,
    stream: &UnixStream,
    wanted: &ToSign,
) -> (Head, Vec<u8>, SignedEntry) {
    let answer = ask(stream, &wanted.request(watched));
    let Answer::Signed { head, sig, entry, entry_sig } = decoded(&answer) else {
        panic!("not signed: {answer:02x?}")
    };

    let head = Head::decode_for(head, &VAULT_ID, &wanted.pid, wanted.epoch).unwrap();
    let entry = AuditEntry::decode(entry).unwrap();
    (head, sig.to_vec(), SignedEntry { entry, sig: entry_sig.try_into().unwrap() })
}

#[track_caller]
fn assert_refused(watched: &Watched, stream: &UnixStream, what: &str, wanted: &ToSign) {
    let answer = ask(stream, &wanted.request(watched));
    assert!(decoded(&answer) == Answer::Failed(AgentFault::Refused), "{what}");
}

#[test]
fn the_next_head_and_its_entry_are_signed() {
    let watched = Watched::new(Specimen::new());
    let (found, owner) = (watched.find("alpha"), specimen::root().signer().public());
    let wanted = request(&watched, &found);
    let (head, sig, entry) = signed(&watched, &watched.home.dial(), &wanted);

    let pid = &found.entry.pid;
    assert!(owner.verifies(&head.encode(&VAULT_ID, pid, 1), &sig));
    assert!(entry.is_signed_by(&owner, &VAULT_ID, pid, head.seq));
    assert_eq!(head, Head { audit_head: entry.hash(), ..wanted.head.clone() });
    assert_eq!(entry.entry.previous, wanted.head.audit_head);
    assert_eq!(entry.entry.change.encode(), wanted.change);
    assert_eq!((entry.entry.time, entry.entry.root_hash), (wanted.head.time, [6; 32]));
}

#[test]
fn a_head_that_does_not_follow_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let right = request(&watched, &found);
    let before = watched.head(&found);
    let with = |change: &dyn Fn(&mut Head)| {
        let mut wanted = right.clone();
        change(&mut wanted.head);
        wanted
    };

    let refused = [
        ("the same seq", with(&|head| head.seq -= 1)),
        ("a seq that skips one", with(&|head| head.seq += 1)),
        ("no ancestors", with(&|head| head.ancestors = Head::none().ancestors)),
        (
            "the ancestors of the head before",
            with(&|head| head.ancestors = before.ancestors.clone()),
        ),
        ("other ancestors", with(&|head| head.ancestors = before.ancestors.then(&[9; 32]))),
        ("the head before itself", ToSign { head: before.clone(), ..right.clone() }),
        ("another signer", with(&|head| head.signer_id = [1; 16])),
        ("another policy", with(&|head| head.policy = [1; 32])),
        ("another hash of the log", with(&|head| head.audit_head = [1; 32])),
        ("a directory", with(&|head| head.directory = [1; 32])),
        ("a directory's seq", with(&|head| head.directory_seq = 1)),
        ("a later time", with(&|head| head.time += TOO_FAR)),
        ("an earlier time", with(&|head| head.time -= TOO_FAR)),
        ("no time", with(&|head| head.time = 0)),
        ("the last time", with(&|head| head.time = u64::MAX)),
    ];

    for (what, wanted) in &refused {
        assert_refused(&watched, &stream, what, wanted);
    }

    // A few minutes between the clocks are no reason.
    for wanted in [
        with(&|head| head.time += TOO_FAR - 60_000),
        with(&|head| head.time -= TOO_FAR - 60_000),
        right.clone(),
    ] {
        signed(&watched, &stream, &wanted);
    }
}

#[test]
fn a_head_of_another_project_or_epoch_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let other = watched.find("beta");
    let (right, of_beta) = (request(&watched, &found), request(&watched, &other));
    let directory = ProjectRow { pid: DIRECTORY, ..right.previous.clone() };
    let with = |pid, epoch, previous: &ProjectRow| ToSign {
        pid,
        epoch,
        previous: previous.clone(),
        ..right.clone()
    };

    let (pid, row) = (right.pid, &right.previous);
    let refused = [
        ("another epoch", with(pid, 2, row)),
        ("another epoch everywhere", with(pid, 2, &ProjectRow { epoch: 2, ..row.clone() })),
        ("another project", with(of_beta.pid, 1, row)),
        ("another project everywhere", with(of_beta.pid, 1, &of_beta.previous)),
        ("an unknown project", with([3; 16], 1, &ProjectRow { pid: [3; 16], ..row.clone() })),
        ("zeros in the head", with(DIRECTORY, 1, row)),
        ("zeros in both", with(DIRECTORY, 1, &directory)),
        ("the directory", with(DIRECTORY, 1, &watched.row(&DIRECTORY))),
        (
            "the ticket of another project",
            ToSign { ticket: of_beta.ticket.clone(), ..right.clone() },
        ),
    ];

    for (what, wanted) in &refused {
        assert_refused(&watched, &stream, what, wanted);
    }

    let encoded = right.head.encode(&VAULT_ID, &pid, 1);
    for bytes in [vec![], encoded[1..].to_vec(), [&encoded[..], &[0]].concat(), vec![0; 741]] {
        let wanted = ToSign { encoded: Some(bytes), ..right.clone() };
        assert_refused(&watched, &stream, "bytes that are no head", &wanted);
    }

    // Another vault's id is in the encoding as well.
    let foreign = right.head.encode(&[8; 16], &pid, 1);
    let wanted = ToSign { encoded: Some(foreign), ..right.clone() };
    assert_refused(&watched, &stream, "another vault", &wanted);
    signed(&watched, &stream, &right);
}

#[test]
fn a_previous_head_that_does_not_verify_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let right = request(&watched, &found);
    let with = |change: &dyn Fn(&mut ProjectRow)| {
        let mut wanted = right.clone();
        change(&mut wanted.previous);
        wanted
    };

    for at in (0..right.previous.head.len()).step_by(17) {
        assert_refused(&watched, &stream, "a changed head", &with(&|row| row.head[at] ^= 1));
    }

    for at in (0..right.previous.sig.len()).step_by(5) {
        assert_refused(&watched, &stream, "a changed signature", &with(&|row| row.sig[at] ^= 1));
    }

    assert_refused(&watched, &stream, "no head", &with(&|row| row.head.clear()));
    assert_refused(&watched, &stream, "no signature", &with(&|row| row.sig.clear()));

    // A reader can seal any head, because it has the key. It cannot sign it.
    let (pid, key) = (right.pid, found.keys.head_key(&right.pid));
    let forged = Head { count: 99, ..watched.head(&found) };
    let sealed = forged.seal(&key, &VAULT_ID, &pid, 1).unwrap();
    let mut wanted = with(&|row| row.head = sealed.clone());
    wanted.head = next(&forged, pid, 1);
    assert_refused(&watched, &stream, "a forged head", &wanted);

    // The same head in a new seal is the same state.
    let resealed = watched.head(&found).seal(&key, &VAULT_ID, &pid, 1).unwrap();
    signed(&watched, &stream, &with(&|row| row.head = resealed.clone()));
}

#[test]
fn a_policy_that_the_directory_does_not_name_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let right = request(&watched, &found);
    let policy =
        |version, body: &[u8]| Some(PolicyRow { version, body: body.to_vec(), sig: vec![1; 64] });

    for policy in [policy(0, &[]), policy(1, &[7; 300]), policy(u64::MAX, &right.previous.head)] {
        let wanted = ToSign { policy, ..right.clone() };
        assert_refused(&watched, &stream, "a policy", &wanted);
    }

    signed(&watched, &stream, &right);
}

/// An entry of the owner says who else may sign, and which key was the owner's. A client must not
/// choose that.
#[test]
fn an_entry_that_names_keys_or_takes_the_passphrase_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let right = request(&watched, &found);
    let (plain, key) = (AuditChange::new(Action::Update), PublicKey::new([5; 32]));
    let admitted = vec![Admitted { token_id: [1; 16], key, name: "mine".into() }];
    let mut many = plain.clone();
    (0..32_u8).for_each(|number| many.add([number; 8], "tag"));
    many.items.push(many.items[0].clone());
    let mut changes = vec![
        AuditChange { admitted, ..plain.clone() },
        AuditChange { removed: vec![[2; 16]], ..plain.clone() },
        AuditChange { owner_before: Some(key), ..plain.clone() },
        update(&"x".repeat(129)),
        many,
    ];

    changes.extend(
        [
            Action::Rekey,
            Action::Restore,
            Action::Salvage,
            Action::Access,
            Action::Policy,
            Action::AddProjects,
            Action::RenameProject,
            Action::DeleteProjects,
            Action::Credentials,
            Action::CreateToken,
            Action::UpdateToken,
            Action::RevokeTokens,
            Action::Prune,
            Action::Begin,
        ]
        .map(AuditChange::new),
    );

    for change in changes {
        let wanted = ToSign { change: change.encode(), ..right.clone() };
        assert_refused(&watched, &stream, &format!("{change:?}"), &wanted);
    }

    for bytes in [vec![], vec![1; 40], right.change[1..].to_vec()] {
        let wanted = ToSign { change: bytes, ..right.clone() };
        assert_refused(&watched, &stream, "bytes that are no change", &wanted);
    }

    for action in [Action::Create, Action::Update, Action::Delete, Action::Clone, Action::Import] {
        let change = AuditChange::new(action).encode();
        signed(&watched, &stream, &ToSign { change, ..right.clone() });
    }
}

/// A ticket names the keys and the policy of its time.
#[test]
fn a_ticket_with_earlier_keys_signs_nothing() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let earlier = request(&watched, &found);
    let vault = watched.specimen.vault().unwrap();
    vault.rekey_project(&project("alpha"), &|_| {}).unwrap();

    let fresh = watched.find("alpha");
    assert_eq!((found.entry.epoch, fresh.entry.epoch), (1, 2));
    assert_refused(&watched, &stream, "an earlier ticket", &earlier);
    signed(&watched, &stream, &request(&watched, &fresh));
}

/// A head that a client shows is compared like one that is signed on.
#[test]
fn a_shown_head_is_compared_with_the_last_one() {
    let watched = Watched::new(Specimen::earlier());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let (path, pid) = (watched.path(), found.entry.pid);
    let show = |row: ProjectRow| ask(&stream, &Request::Head { path, ticket: &found.ticket, row });

    let earlier = watched.row(&pid);
    watched.specimen.overwrite(&Specimen::new().bytes());
    let now = watched.row(&pid);
    watched.specimen.overwrite(&Specimen::fork().bytes());
    let fork = watched.row(&pid);
    for row in [&earlier, &now, &now] {
        assert!(decoded(&show(row.clone())) == Answer::Done(true));
    }

    for row in [&earlier, &fork] {
        let answer = show(row.clone());
        assert!(decoded(&answer) == Answer::Failed(AgentFault::ProjectRolledBack));
    }

    // These are not heads of the project that the ticket names.
    for row in [
        ProjectRow { head: vec![], ..now.clone() },
        ProjectRow { epoch: 2, ..now.clone() },
        ProjectRow { pid: [3; 16], ..now.clone() },
        ProjectRow { pid: DIRECTORY, ..now },
        watched.row(&DIRECTORY),
        watched.row(&watched.find("beta").entry.pid),
    ] {
        assert!(decoded(&show(row)) == Answer::Failed(AgentFault::Refused));
    }
}

/// A head that was signed may never be committed. So the same state may be changed again, until the
/// agent has signed on a later one.
#[test]
fn a_head_before_the_last_one_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (found, stream) = (watched.find("alpha"), watched.home.dial());
    let (first, pid) = (request(&watched, &found), found.entry.pid);
    let (head, sig, _) = signed(&watched, &stream, &first);
    signed(&watched, &stream, &first);

    let sealed = head.seal(&found.keys.head_key(&pid), &VAULT_ID, &pid, 1).unwrap();
    let row = ProjectRow { pid, epoch: 1, head: sealed, sig };
    let second = ToSign { previous: row, head: next(&head, pid, 1), ..first.clone() };
    signed(&watched, &stream, &second);

    let rolled_back = |wanted: &ToSign| {
        let answer = ask(&stream, &wanted.request(&watched));
        decoded(&answer) == Answer::Failed(AgentFault::ProjectRolledBack)
    };

    assert!(rolled_back(&first));
    signed(&watched, &stream, &second);

    // Another line of the same project, which left it before.
    watched.specimen.overwrite(&Specimen::fork().bytes());
    assert!(rolled_back(&request(&watched, &found)));

    // Each project is compared with itself.
    watched.specimen.overwrite(&Specimen::new().bytes());
    signed(&watched, &stream, &request(&watched, &watched.find("beta")));
}
