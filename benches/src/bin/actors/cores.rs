//! Which core does what: clients on the first allowed one, actors on the next, if there is one.

use ironcliw::{allowed_cores, pin_current_thread};

/// The place of the actors' core in the allowed set.
pub fn actors() -> usize {
    1 % allowed_cores().len()
}

/// The place of the clients' core in the allowed set.
pub fn clients() -> usize {
    0
}

/// Pins the current thread to the actors' core.
pub fn pin_to_actors() {
    pin(actors());
}

/// Pins the current thread to the clients' core.
pub fn pin_to_clients() {
    pin(clients());
}

fn pin(place: usize) {
    let core = allowed_cores()[place];
    assert!(pin_current_thread(core), "could not pin a thread to core {core}: its figures would mean nothing");
}
