//! The stacks of a snapshot: each once, however many leases have it, and unread until it is serialised.

use crate::leak::{Frame, Stack};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::collections::HashMap;

/// Different stacks, by the order in which they were met.
///
/// Serialises to `{"frames": [frame, …], "calls": [[place of a frame, …], …]}`: many stacks share most of their frames.
#[derive(Debug, Default)]
pub struct StackTable {
    stacks: Vec<Stack>,
    places: HashMap<Stack, usize>,
}

impl StackTable {
    /// The place of an equal stack, which is put into the table if it is the first.
    pub(super) fn place(&mut self, stack: &Stack) -> usize {
        if let Some(&place) = self.places.get(stack) {
            return place;
        }
        let place = self.stacks.len();
        self.stacks.push(stack.clone());
        self.places.insert(stack.clone(), place);
        place
    }

    /// The stacks, by place.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// Reads the symbols: the different frames, and for each stack the places of its frames, the innermost first.
    pub fn read(&self) -> (Vec<Frame>, Vec<Vec<usize>>) {
        let mut frames = Vec::new();
        let mut places = HashMap::<Frame, usize>::new();
        let mut place = |frame: Frame| {
            *places.entry(frame).or_insert_with_key(|frame| {
                frames.push(frame.clone());
                frames.len() - 1
            })
        };
        let calls = self.stacks.iter().map(|stack| stack.frames().into_iter().map(&mut place).collect()).collect();
        (frames, calls)
    }
}

impl Serialize for StackTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (frames, calls) = self.read();
        let mut table = serializer.serialize_struct("StackTable", 2)?;
        table.serialize_field("frames", &frames)?;
        table.serialize_field("calls", &calls)?;
        table.end()
    }
}
