//! `list` selects secrets by their date of expiry and by their age.

use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::{Import, IncomingSecret, OnConflict};

use super::{DAY, dated, found, store};
use crate::support::terminal::Terminal;
use crate::support::{Sandbox, project, secret};

/// Returns the tags in the lines of `list`, and its number of columns.
#[track_caller]
fn listed(sandbox: &Sandbox, options: &[&str]) -> (Vec<String>, usize) {
    let run = sandbox.run([&["list"][..], options].concat()).succeeds();
    let bytes = run.stderr_has("").bytes();
    let text = String::from_utf8(bytes).unwrap();
    let columns = text.lines().map(|line| line.split('\t').count()).max().unwrap_or_default();
    let tag = |line: &str| line.split('\t').next().unwrap().to_owned();
    (text.lines().map(tag).collect(), columns)
}

#[test]
fn list_selects_by_expiry_and_by_age() {
    let sandbox = Sandbox::with_secrets(&[("undated", "x")]).unlocked();
    for (tag, days) in [("past", -1), ("soon", 29), ("later", 31)] {
        store(&sandbox, "default", dated(tag, days));
    }

    let (to, now) = (project("default"), Timestamp::now().0);
    let aged = |(tag, days)| IncomingSecret {
        to: &to,
        new: secret(tag, b"x"),
        times: Some((Timestamp(1), Timestamp(now - days * DAY))),
    };

    let secrets = [("fresh", 89), ("stale", 91)].map(aged);
    let import = Import { secrets: secrets.into(), on_conflict: OnConflict::Fail };
    sandbox.vault().import(&import, &|_| {}).unwrap();

    assert_eq!(listed(&sandbox, &["--expiring", "30d"]).0, ["past", "soon"]);
    assert_eq!(listed(&sandbox, &["--expiring", "1h"]).0, ["past"]);
    assert_eq!(listed(&sandbox, &["--expiring", "5w"]).0, ["later", "past", "soon"]);
    assert_eq!(listed(&sandbox, &["--older-than", "90d"]).0, ["stale"]);
    assert_eq!(listed(&sandbox, &["--older-than", "12w"]).0, ["fresh", "stale"]);
    assert_eq!(listed(&sandbox, &["--expiring", "30d", "--filter", "SOO"]).0, ["soon"]);
    assert_eq!(listed(&sandbox, &["--expiring", "30d", "--older-than", "90d"]).0.len(), 0);

    let json = sandbox.run(["list", "--expiring", "30d", "--json"]).succeeds().json();
    assert_eq!((&json["total"], &json["secrets"][0]["tag"]), (&2.into(), &"past".into()));
    assert!(json["secrets"][0]["expiresAt"].is_string());

    let run = sandbox.run(["list", "--older-than", "50y"]).succeeds().stdout("");
    run.stderr("no matching secrets in project `default`\n");
}

/// Programs count columns, so only an option changes their number.
#[test]
fn lines_have_the_date_only_with_expiring() {
    let sandbox = Sandbox::new();
    store(&sandbox, "default", dated("key", 7));
    assert_eq!(listed(&sandbox, &[]).1, 5);
    assert_eq!(listed(&sandbox, &["--older-than", "1h"]).1, 0);

    let line = sandbox.run(["list", "--expiring", "30d"]).succeeds().bytes();
    let line = String::from_utf8(line).unwrap();
    let cells: Vec<&str> = line.split('\t').collect();
    let date = &found(&sandbox, "key").0;
    assert_eq!((cells.len(), cells[3]), (6, &date.as_str().unwrap()[..10]));
}

#[test]
fn a_table_has_the_date_if_a_secret_has_one_and_fits_40_columns() {
    let sandbox = Sandbox::with_secrets(&[("undated-key", "x")]).unlocked();
    let screen = |width: u8, options: &str| {
        let script =
            format!("stty cols {width}; echo begin; \"$secrets\" list {options}; echo end");
        let mut terminal = Terminal::shell(&sandbox, &script);
        terminal.waits_for("begin").waits_for("end");
        let screen = terminal.ends_with(0).to_owned();
        let table = screen.split("begin\r\n").nth(1).unwrap();
        table.split("end\r\n").next().unwrap().replace('\r', "")
    };

    assert!(!screen(80, "").contains("EXPIRES"));
    store(&sandbox, "default", dated("database-url", 7));
    let date = found(&sandbox, "database-url").0.as_str().unwrap()[..10].to_owned();

    for options in ["", "--expiring 30d"] {
        let wide = screen(100, options);
        let titles: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(titles, ["TAG", "HINT", "UPDATED", "EXPIRES", "ID"], "{wide}");

        let narrow = screen(40, options);
        let titles: Vec<&str> = narrow.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(titles, ["TAG", "HINT", "EXPIRES"], "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");

        let row = narrow.lines().find(|line| line.starts_with("database-url ")).unwrap();
        assert!(row.ends_with(&format!("  {date}")), "{narrow}");
    }
}
