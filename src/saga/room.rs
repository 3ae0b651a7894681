//! Places for sagas in flight: so many in all, so many of a definition, and in turn between tenants.
//!
//! 1. A place is given at once while there is one, in all and for the definition.
//! 2. One that becomes free goes to the tenant whose turn it is, and within it to the definition whose turn it is; the
//!    first that waits there gets it. Then it is the turn of the others.
//! 3. Who waits for a full definition holds up nobody of another one.
//! 4. Who goes away while waiting leaves nothing; one that was given and not taken is free again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Places, shared by all sagas of an engine.
pub(super) struct Room {
    queue: Mutex<Queue>,
}

/// Who has a place, and who waits for one.
struct Queue {
    free: usize,
    /// Definitions with a bound of their own: how many places they have left.
    left: HashMap<Box<str>, usize>,
    /// Tenants of whom somebody waits.
    tenants: HashMap<Arc<str>, VecDeque<Lane>>,
    /// The same tenants, the next one first.
    turns: VecDeque<Arc<str>>,
    next: u64,
}

/// Who waits for a place for one definition, in order. Never empty.
struct Lane {
    definition: Box<str>,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Queue {
    fn has_room(&self, definition: &str) -> bool {
        self.free > 0 && self.left.get(definition).is_none_or(|left| *left > 0)
    }

    fn take(&mut self, definition: &str) {
        self.free = self.free.saturating_sub(1);
        if let Some(left) = self.left.get_mut(definition) {
            *left = left.saturating_sub(1);
        }
    }

    fn wait(&mut self, tenant: &str, definition: &str) -> (u64, oneshot::Receiver<()>) {
        let (given, place) = oneshot::channel();
        let ticket = self.next;
        self.next = ticket.wrapping_add(1);
        if !self.tenants.contains_key(tenant) {
            let tenant: Arc<str> = tenant.into();
            self.turns.push_back(Arc::clone(&tenant));
            self.tenants.insert(tenant, VecDeque::new());
        }
        if let Some(lanes) = self.tenants.get_mut(tenant) {
            match lanes
                .iter_mut()
                .find(|lane| *lane.definition == *definition)
            {
                Some(lane) => {
                    lane.waiting.insert(ticket, given);
                }
                None => lanes.push_back(Lane {
                    definition: definition.into(),
                    waiting: BTreeMap::from([(ticket, given)]),
                }),
            }
        }
        (ticket, place)
    }

    /// Gives what is free to those who wait.
    fn give(&mut self) {
        while let Some(given) = self.next_in_turn() {
            // Who no longer listens gives its place back by itself.
            _ = given.send(());
        }
    }

    /// Whoever is next has a place from now on.
    fn next_in_turn(&mut self) -> Option<oneshot::Sender<()>> {
        if self.free == 0 {
            return None;
        }
        for _ in 0..self.turns.len() {
            let tenant = self.turns.pop_front()?;
            let given = self.from(&tenant);
            if self.tenants.contains_key(&tenant) {
                self.turns.push_back(tenant);
            }
            if given.is_some() {
                return given;
            }
        }
        None
    }

    fn from(&mut self, tenant: &Arc<str>) -> Option<oneshot::Sender<()>> {
        let left = &self.left;
        let lanes = self.tenants.get_mut(tenant)?;
        let free = |lane: &Lane| left.get(&lane.definition).is_none_or(|left| *left > 0);
        let index = lanes.iter().position(free)?;
        let mut lane = lanes.remove(index)?;
        let given = lane.waiting.pop_first().map(|(_, given)| given);
        let definition = lane.definition.clone();
        if !lane.waiting.is_empty() {
            lanes.push_back(lane);
        }
        if lanes.is_empty() {
            self.tenants.remove(tenant);
        }
        self.take(&definition);
        given
    }

    /// Takes somebody out who no longer waits. False when it has been given a place.
    fn remove(&mut self, tenant: &str, definition: &str, ticket: u64) -> bool {
        let Some(lanes) = self.tenants.get_mut(tenant) else {
            return false;
        };
        let Some(index) = lanes
            .iter()
            .position(|lane| *lane.definition == *definition)
        else {
            return false;
        };
        let Some(lane) = lanes.get_mut(index) else {
            return false;
        };
        let found = lane.waiting.remove(&ticket).is_some();
        if lane.waiting.is_empty() {
            lanes.remove(index);
        }
        if lanes.is_empty() {
            self.tenants.remove(tenant);
            self.turns.retain(|other| **other != *tenant);
        }
        found
    }
}

impl Room {
    /// Room for so many in all, and for so many of some definitions.
    pub(super) fn new(places: usize, of: HashMap<Box<str>, usize>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                free: places,
                left: of,
                tenants: HashMap::new(),
                turns: VecDeque::new(),
                next: 0,
            }),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics half way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tenants have somebody waiting.
    #[cfg(test)]
    fn tenants(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.tenants.len(), queue.turns.len())
    }

    /// Waits for a place, in turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in the queue and nothing else.
    pub(super) fn place(
        self: &Arc<Self>,
        tenant: &str,
        definition: &str,
    ) -> impl Future<Output = Seat> + use<> {
        let mut queue = self.queue();
        let bounded = queue.left.contains_key(definition);
        let ticket = if queue.has_room(definition) {
            queue.take(definition);
            None
        } else {
            let (number, place) = queue.wait(tenant, definition);
            Some(Ticket {
                number,
                place,
                tenant: tenant.into(),
                definition: definition.into(),
            })
        };
        drop(queue);
        let waiting = Waiting {
            room: Arc::clone(self),
            bounded: bounded.then(|| definition.into()),
            ticket,
            taken: false,
        };
        waiting.given()
    }
}

/// A place; free again when this is dropped.
pub(super) struct Seat {
    room: Arc<Room>,
    /// Of a definition with a bound of its own.
    bounded: Option<Arc<str>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut queue = self.room.queue();
        queue.free = queue.free.saturating_add(1);
        let left = self.bounded.as_deref();
        if let Some(left) = left.and_then(|name| queue.left.get_mut(name)) {
            *left = left.saturating_add(1);
        }
        queue.give();
    }
}

/// Somebody who waits, or has been given a place and has not taken it.
struct Waiting {
    room: Arc<Room>,
    bounded: Option<Arc<str>>,
    /// Of one that did not get its place at once.
    ticket: Option<Ticket>,
    taken: bool,
}

struct Ticket {
    number: u64,
    place: oneshot::Receiver<()>,
    tenant: Box<str>,
    definition: Box<str>,
}

impl Waiting {
    fn seat(&self) -> Seat {
        Seat {
            room: Arc::clone(&self.room),
            bounded: self.bounded.clone(),
        }
    }

    async fn given(mut self) -> Seat {
        if let Some(ticket) = &mut self.ticket
            && (&mut ticket.place).await.is_err()
        {
            // The queue keeps the other end for as long as this waits.
            std::future::pending::<()>().await;
        }
        self.taken = true;
        self.seat()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let waits = self.ticket.as_ref().is_some_and(|ticket| {
            let mut queue = self.room.queue();
            queue.remove(&ticket.tenant, &ticket.definition, ticket.number)
        });
        if !waits {
            // Given and not taken.
            drop(self.seat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn room(places: usize, of: &[(&str, usize)]) -> Arc<Room> {
        let of = of.iter().map(|(name, places)| ((*name).into(), *places));
        Room::new(places, of.collect())
    }

    type Wait = std::pin::Pin<Box<dyn Future<Output = Seat>>>;

    fn wait(room: &Arc<Room>, tenant: &str, definition: &str) -> Wait {
        Box::pin(room.place(tenant, definition))
    }

    #[test]
    fn rule_1_at_once_while_there_is_one() {
        let room = room(2, &[("b", 1)]);
        let first = wait(&room, "x", "b").now_or_never().unwrap();
        assert!(wait(&room, "x", "b").now_or_never().is_none(), "b is full");
        let second = wait(&room, "x", "a").now_or_never().unwrap();
        assert!(
            wait(&room, "x", "a").now_or_never().is_none(),
            "all are taken"
        );
        drop((first, second));
        assert!(wait(&room, "x", "b").now_or_never().is_some());
        assert_eq!(room.tenants(), (0, 0));
    }

    #[test]
    fn rule_2_in_turn_between_tenants_and_definitions() {
        let room = room(1, &[]);
        let mut seat = wait(&room, "x", "a").now_or_never();
        let mut many: VecDeque<Wait> = (0..1_000).map(|_| wait(&room, "flood", "a")).collect();
        let mut other = wait(&room, "flood", "b");
        let mut lone = wait(&room, "lone", "a");
        // The flood has the first turn, the lone one the second, and the other definition the third.
        seat.take();
        seat = many.pop_front().unwrap().now_or_never();
        assert!(seat.is_some() && (&mut lone).now_or_never().is_none());
        seat.take();
        seat = (&mut lone).now_or_never();
        assert!(seat.is_some() && (&mut other).now_or_never().is_none());
        seat.take();
        seat = (&mut other).now_or_never();
        assert!(seat.is_some());
        while let Some(mut next) = many.pop_front() {
            assert!((&mut next).now_or_never().is_none());
            seat.take();
            seat = next.now_or_never();
            assert!(seat.is_some());
        }
        assert_eq!(room.tenants(), (0, 0));
    }

    #[test]
    fn rule_3_a_full_definition_holds_up_no_other() {
        let room = room(2, &[("slow", 1)]);
        let slow = wait(&room, "x", "slow").now_or_never().unwrap();
        let fast = wait(&room, "x", "fast").now_or_never().unwrap();
        let mut blocked = wait(&room, "x", "slow");
        let mut next = wait(&room, "x", "fast");
        drop(fast);
        assert!((&mut blocked).now_or_never().is_none());
        let next = (&mut next).now_or_never().unwrap();
        drop(slow);
        assert!((&mut blocked).now_or_never().is_some());
        drop(next);
    }

    #[test]
    fn rule_4_who_goes_away_leaves_nothing() {
        let room = room(1, &[("a", 1)]);
        let seat = wait(&room, "x", "a").now_or_never().unwrap();
        let (given, gone, last) = (
            wait(&room, "x", "a"),
            wait(&room, "y", "a"),
            wait(&room, "z", "a"),
        );
        drop(gone);
        assert_eq!(room.tenants(), (2, 2));
        drop(seat);
        // Given, and dropped before it was looked at.
        drop(given);
        assert!(last.now_or_never().is_some());
        assert_eq!(room.tenants(), (0, 0));
        assert!(wait(&room, "x", "a").now_or_never().is_some());
    }
}
