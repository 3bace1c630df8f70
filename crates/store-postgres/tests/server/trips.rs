//! The numbers of trips and bytes, counted by a relay.

use std::time::Duration;

use secrets_core::vault::Vault;
use test_postgres::{Cluster, Relay};

use crate::world::{World, by_tag, project, secret, tag};

#[test]
fn what_one_machine_writes_another_one_reads() {
    let Some(world) = World::new() else { return };
    let relay = Relay::start(Cluster::shared().unwrap().port(), Duration::from_millis(20));
    let web = project("web");

    let first = world.vault("first", Some(relay.port()));
    first.create(&web, secret("one", b"value-one")).unwrap();
    first.create(&web, secret("two", b"value-two")).unwrap();

    let second = world.vault("second", Some(relay.port()));
    let tags = [tag("one"), tag("two")];
    let revealed = second.scope(&web).reveal_existing(&tags).unwrap();
    let values: Vec<&[u8]> = revealed.iter().flatten().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, [b"value-one", b"value-two"]);

    for (name, act) in [
        ("get", (|vault| drop(vault.get(&project("web"), &by_tag("one")).unwrap())) as fn(&Vault)),
        ("list", |vault| drop(vault.list(Some(&project("web")), |_| true).unwrap())),
        ("reveal", |vault| drop(vault.scope(&project("web")).reveal_all().unwrap())),
        ("create", |vault| drop(vault.create(&project("web"), secret("three", b"v")).unwrap())),
        ("create", |vault| drop(vault.create(&project("web"), secret("four", b"v")).unwrap())),
        ("new", |vault| drop(vault.create(&project("other"), secret("four", b"v")).unwrap())),
        ("delete", |vault| drop(vault.delete(&project("web"), &[by_tag("four")]).unwrap())),
    ] {
        relay.reset();
        let begun = std::time::Instant::now();
        act(&second);
        let took = begun.elapsed();
        println!(
            "{name}: {took:?} {} trips, {} up, {} down",
            relay.trips(),
            relay.bytes_up(),
            relay.bytes_down()
        );
    }
    panic!("look");
}
