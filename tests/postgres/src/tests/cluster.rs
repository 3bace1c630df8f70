//! Shows that clusters start, crash, replicate and end.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{psql, text};
use crate::postmaster::wait_for;
use crate::{Cluster, Options};

#[test]
fn the_superuser_runs_statements_and_a_database_is_dropped() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let name = database.name().to_owned();
    assert!(cluster.is_running());
    assert_eq!(database.sql("select 1, 'a' union select 2, 'b' order by 1"), "1|a\n2|b");
    assert_eq!(database.sql("select current_database()"), name);
    assert!(database.try_sql("select 1 / 0").unwrap_err().contains("division by zero"));

    let count = format!("select count(*) from pg_database where datname = '{name}'");
    assert_eq!(cluster.sql(&count), "1");
    drop(database);
    assert_eq!(cluster.sql(&count), "0");
}

#[test]
fn each_role_logs_in_in_its_way_only() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let (cert, key) = (cluster.client_cert(), cluster.client_key());
    let client = format!("&sslcert={}&sslkey={}", cert.display(), key.display());
    let log_in = |role: &str, options: &str, password: &str| {
        let url = database.url().replace("app@", &format!("{role}@")) + options;
        let mut psql = Command::new("psql");
        psql.env("PGPASSWORD", password).args(["-qAtX", &url, "-c", "select current_user"]);
        text(&psql.output().unwrap())
    };

    let (full, plain) = ("&sslmode=verify-full", "&sslmode=disable");
    assert_eq!(log_in("app", full, database.password()), "app");
    assert_eq!(log_in("app", plain, database.password()), "app");
    assert!(log_in("app", full, "wrong").contains("password authentication failed"));
    assert_eq!(log_in("legacy", full, cluster.legacy_password()), "legacy");
    assert_eq!(log_in("legacy", plain, cluster.legacy_password()), "legacy");
    assert_eq!(log_in("device", &(full.to_owned() + &client), ""), "device");
    assert!(log_in("device", full, "").contains("client certificate"));
    assert_eq!(log_in("plain", plain, ""), "plain");
    assert!(log_in("plain", full, "").contains("no pg_hba.conf entry"));
    assert!(log_in("postgres", full, "").contains("no pg_hba.conf entry"));

    let other = format!("{full}&sslrootcert={}", cluster.other_ca().display());
    assert!(log_in("app", &other, database.password()).contains("certificate verify failed"));
}

#[test]
fn a_killed_cluster_recovers_what_was_committed() {
    if !Cluster::is_available() {
        return;
    }

    let cluster = Cluster::start(&Options::default().with_line("autovacuum = off"));
    let (database, port) = (cluster.database(), cluster.port());
    assert_eq!(cluster.sql("show autovacuum"), "off");
    database.sql("create table entries as select 1 as id");

    let mut child =
        psql(&database, port, "select pg_sleep(60)").stderr(Stdio::null()).spawn().unwrap();
    let active = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    wait_for("the query", || cluster.sql(active) == "1");
    cluster.kill();
    assert!(!cluster.is_running());
    assert!(!child.wait().unwrap().success());
    assert!(database.try_sql("select 1").is_err());

    cluster.restart();
    assert_eq!(cluster.port(), port);
    assert_eq!(database.sql("select id from entries"), "1");
    assert!(cluster.log().contains("not properly shut down"));

    cluster.stop_immediately();
    assert!(!cluster.is_running());
    cluster.restart();
    assert_eq!(database.sql("select id from entries"), "1");
}

#[test]
fn a_standby_replicates_and_is_promoted() {
    if !Cluster::is_available() {
        return;
    }

    let options = Options::default().with_line("synchronous_standby_names = 'second'");
    let primary = Cluster::start(&options);
    let database = primary.database();
    let standby = primary.standby("second", &Options::default());
    assert_eq!(primary.sql("select sync_state from pg_stat_replication"), "sync");

    database.sql("create table entries as select 7 as id");
    let query = "select id from entries";
    wait_for("the table", || {
        let table = "select to_regclass('entries') is not null";
        standby.sql_in(database.name(), table) == "t"
    });
    assert_eq!(standby.sql_in(database.name(), query), "7");
    assert_eq!(standby.sql("select pg_is_in_recovery()"), "t");

    primary.kill();
    standby.promote();
    standby.sql_in(database.name(), "insert into entries values (8)");
    let output = psql(&database, standby.port(), "select 1").output().unwrap();
    assert_eq!(text(&output), "1");
}

/// Names the environment variable under which the test below runs.
const IS_CHILD: &str = "SECRETS_TEST_POSTGRES_IS_CHILD";

#[test]
#[ignore = "a part of the next test, which kills this one"]
#[allow(clippy::disallowed_methods)]
fn process_that_is_killed() {
    if std::env::var_os(IS_CHILD).is_none() {
        return;
    }

    let cluster = Cluster::shared().unwrap();
    let standalone = Cluster::start(&Options::default());
    for one in [cluster, &standalone] {
        let directory = one.ca().parent().unwrap().display().to_string();
        let line = format!("CLUSTER {} {directory}\n", one.sql("select pg_backend_pid()"));
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }

    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_server_ends_with_the_process() {
    if !Cluster::is_available() {
        return;
    }

    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "tests::cluster::process_that_is_killed", "--ignored", "--nocapture"]);
    let mut child = command.env(IS_CHILD, "1").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let clusters: Vec<_> = lines.filter(|line| line.contains("CLUSTER ")).take(2).collect();
    child.kill().unwrap();
    child.wait().unwrap();

    let directories = clusters.iter().map(|line| line.rsplit(' ').next().unwrap());
    for directory in directories {
        wait_for("the directory to be removed", || !Path::new(directory).exists());
        let listing = Command::new("ps").args(["-A", "-o", "args="]).output().unwrap();
        assert!(!String::from_utf8_lossy(&listing.stdout).contains(directory));
    }
}
