//! A server that shows an earlier state, or different states to different machines.
//!
//! A machine that has seen nothing cannot notice that. A machine that has seen later notices it by its
//! checkpoints.

use tempfile::TempDir;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::{CachePlace, RemoteStore, SqliteStore};
use terminal_secrets::store_postgres::PostgresServer;
use terminal_secrets::store_postgres::address::{Address, SystemFiles};
use terminal_secrets::vault::{Locked, SecretChanges, Vault, begin_vault};
use test_postgres::Cluster;

use super::rows::{TABLES, copy_of, load};
use super::schema::{ALL, Keys, Operator, with_tokens};
use super::target::{Target, contents, is_refused, report};
use crate::attacks::{INNOCENT, innocent};
use crate::support::specimen::{Specimen, VAULT_ID, root};
use crate::support::{project, secret, value};

fn update(vault: &Vault, name: &str, tag: &str, text: &str) {
    let changes = SecretChanges { value: Some(value(text.as_bytes())), ..SecretChanges::default() };
    vault.update(&project(name), &tag.parse().unwrap(), None, changes).unwrap();
}

/// Returns a state and the next one, in which everything has changed.
fn states() -> [Specimen; 2] {
    let specimen = with_tokens();
    let earlier = Specimen::of(&specimen.bytes());
    let vault = specimen.vault().unwrap();
    update(&vault, "alpha", "one", "later");
    update(&vault, "beta", "three", "later");
    vault.create(&project("gamma"), secret("first", b"later")).unwrap();
    [earlier, specimen]
}

/// Returns statements that put a view in place of each table. It shows `app` the earlier rows of some
/// projects, and the present rows to everybody else.
fn views(earlier: &Specimen, of_project: &str, has_other_tables: bool) -> String {
    let mut sql = "CREATE SCHEMA earlier; CREATE SCHEMA states;".to_owned();
    for table in TABLES {
        let name = table.0;
        sql.push_str(&format!(
            "CREATE TABLE earlier.{name}(LIKE pristine.{name} INCLUDING DEFAULTS);"
        ));
        sql.push_str(&copy_of(earlier, table, &format!("earlier.{name}")));
    }

    for (name, columns) in TABLES {
        let rows = |state: &str, schema: &str| {
            let pid = match name {
                "vals" => format!("(SELECT pid FROM {schema}.records r WHERE r.rid = t.rid)"),
                _ if columns.contains(&"pid") => "t.pid".into(),
                _ => "NULL::bytea".into(),
            };
            format!("SELECT '{state}' AS state, {pid} AS of_project, t.* FROM {schema}.{name} t")
        };
        let (now, before) = (rows("now", "pristine"), rows("earlier", "earlier"));
        let is_rolled_back = if columns.contains(&"pid") || name == "vals" {
            of_project.to_owned()
        } else {
            has_other_tables.to_string()
        };
        let columns = match name {
            "vault" => format!("{}, format", columns.join(", ")),
            _ => columns.join(", "),
        };
        sql.push_str(&format!(
            "CREATE TABLE states.{name} AS {now} UNION ALL {before}; DROP TABLE secrets.{name}; \
             CREATE VIEW secrets.{name} AS SELECT {columns} FROM states.{name} WHERE state = CASE \
             WHEN current_user = 'app' AND ({is_rolled_back}) THEN 'earlier' ELSE 'now' END;"
        ));
    }

    sql.push_str("GRANT ALL ON ALL TABLES IN SCHEMA secrets TO app, device;");
    sql
}

/// Returns the vault as the role `device` sees it.
fn as_device(operator: &Operator) -> Vault {
    let cluster = Cluster::shared().unwrap();
    let url = operator.target.server.database.url().replace("app@", "device@");
    let (cert, key) = (cluster.client_cert(), cluster.client_key());
    let url = format!("{url}&sslcert={}&sslkey={}", cert.display(), key.display());
    let address: SecretBytes = Address::parse(&url, &SystemFiles, &|_| None).unwrap().encode();
    let connector = PostgresServer::connector();
    let store = RemoteStore::at(address, VAULT_ID, CachePlace::Memory, connector).unwrap();
    Locked::with_store(Box::new(store)).unlocked(root())
}

#[test]
fn a_view_of_an_earlier_state_for_one_role_is_refused() {
    let [earlier, now] = states();
    let Some(operator) = Operator::new(&now, Keys::Without) else { return };
    let honest = contents(&now.vault().unwrap()).unwrap();
    let before = contents(&earlier.vault().unwrap()).unwrap();
    let directory = "'\\x00000000000000000000000000000000'::bytea";
    let mut wrong = Vec::new();
    for (name, of_project, has_other_tables) in [
        ("one project", format!("of_project = {}", operator.ids.alpha), false),
        ("all but the directory", format!("of_project <> {directory}"), false),
        ("the directory", format!("of_project = {directory}"), false),
        ("everything", "true".to_owned(), true),
        ("nothing", "false".to_owned(), false),
    ] {
        operator.apply(&ALL, &views(&earlier, &of_project, has_other_tables));
        let seen = contents(&operator.target.warm());
        if is_refused(&seen) == (name == "nothing") {
            wrong.push(format!("{name}: {seen:?}"));
        }

        if name == "everything" {
            assert_eq!(contents(&operator.target.cold()).unwrap(), before);
        }

        assert_eq!(contents(&as_device(&operator)).unwrap(), honest, "{name}");
        operator.target.sql("DROP SCHEMA earlier, states CASCADE");
    }

    report(&wrong);
}

/// The same with the earlier rows themselves, so that it can be written on them.
#[test]
fn nothing_is_written_on_an_earlier_state() {
    let [earlier, now] = states();
    let Some(target) = Target::new(&now) else { return };
    let before = target.sql_and_hash(&load(&earlier));
    let mut wrong = Vec::new();
    for at in 0..INNOCENT {
        let written = innocent(&target.warm(), at);
        if !is_refused(&written) {
            wrong.push(format!("write {at}: {written:?}"));
        }
    }

    assert_eq!(target.sql_and_hash(""), before);
    report(&wrong);
}

/// Two machines have seen the same state. The server then shows each of them another line.
#[test]
fn a_machine_follows_only_one_line() {
    let lines = ["left", "right"].map(|text| {
        let specimen = Specimen::new();
        update(&specimen.vault().unwrap(), "alpha", "one", text);
        specimen.vault().unwrap().create(&project(text), secret("first", b"v")).unwrap();
        specimen
    });
    let Some(target) = Target::new(&Specimen::new()) else { return };
    let machines = [target.copy(), target.another_copy()];
    for (machine, line) in machines.iter().zip(&lines) {
        target.sql(&load(line));
        contents(&target.vault(machine)).unwrap();
    }

    // The lines are swapped, and then each goes on.
    for round in 0..2 {
        for (machine, line) in machines.iter().zip(lines.iter().rev()) {
            target.sql(&load(line));
            let read = contents(&target.vault(machine));
            assert!(is_refused(&read), "{round}: {read:?}");
            assert!(is_refused(&innocent(&target.vault(machine), 0)));
        }

        for line in &lines {
            update(&line.vault().unwrap(), "beta", "three", "goes on");
        }
    }

    for (machine, line) in machines.iter().zip(&lines) {
        target.sql(&load(line));
        contents(&target.vault(machine)).unwrap();
    }
}

#[test]
fn a_project_that_is_shown_again_after_its_removal_is_refused() {
    let [earlier, now] = states();
    let vault = now.vault().unwrap();
    vault.delete_projects(&[project("beta")]).unwrap();
    let Some(target) = Target::new(&now) else { return };
    assert!(!contents(&target.warm()).unwrap().iter().any(|line| line.starts_with("beta")));
    target.sql(&load(&earlier));
    assert!(is_refused(&contents(&target.warm())));
}

#[test]
fn another_vault_in_its_place_is_refused() {
    let Some(target) = Target::new(&with_tokens()) else { return };
    for vault_id in [VAULT_ID, [1; 16]] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("vault.db");
        let key = RootKey::from_bytes(&[8; 32]).unwrap();
        SqliteStore::create(&path, |rows| begin_vault(rows, vault_id, &key, &[])).unwrap();
        target.sql(&load(&Specimen::of(&std::fs::read(path).unwrap())));
        for vault in [target.cold(), target.warm()] {
            assert!(is_refused(&contents(&vault)), "{vault_id:?}");
            assert!(is_refused(&innocent(&vault, 1)), "{vault_id:?}");
        }
    }
}
