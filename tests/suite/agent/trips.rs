//! Trips to a store on a network with the key in an agent. A question to the agent is not a trip.

use terminal_secrets::vault::Locked;

use crate::support::specimen::{VAULT_ID, root};
use crate::trips::{World, assert_trips};

use super::{HOUR, Home, program};

#[test]
fn an_agent_costs_no_trip_to_the_store() {
    let world = World::new();
    let home = Home::empty(world.path().to_str().unwrap());
    home.client().start(program(), VAULT_ID, &root(), (HOUR, HOUR)).unwrap();
    assert_trips(&world, |store| Locked::with_store(Box::new(store)).unlocked(home.client()));
}
