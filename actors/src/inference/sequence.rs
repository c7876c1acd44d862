//! Packed operations in a row, and the memory they pass their values through.
//!
//! The scratch is `[A | B | rest]`: values go from the input to A, from A to B and back, and the last operation that
//! moves them writes the output; what follows works in place there. `rest` is the scratch of one operation at a time, a
//! nested sequence among them.

use super::op::{Op, elements};
use super::run::Run;
use crate::{Error, Result};

pub(crate) struct Step {
    /// How errors name it: `conv2d 3`.
    pub name: String,
    pub op: Op,
}

impl Step {
    /// Puts the step's name before what went wrong.
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::Model(message) => Error::Model(format!("{}: {message}", self.name)),
            other => other,
        })
    }
}

pub(crate) struct Sequence {
    pub steps: Vec<Step>,
    /// Whether the values are channels-last images at the end.
    pub channels_last: bool,
}

/// Where the values stand between two steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Input,
    A,
    B,
    Out,
}

impl Sequence {
    pub(crate) fn ends_channels_last(&self) -> bool {
        self.channels_last
    }

    pub(crate) fn output_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        Ok(self.shapes(shape)?.pop().expect("there is a shape before every step and after the last"))
    }

    /// The shape before every step, and the one after the last.
    fn shapes(&self, shape: &[usize]) -> Result<Vec<Vec<usize>>> {
        elements(shape)?;
        let mut shapes = vec![shape.to_vec()];
        for step in &self.steps {
            let made = step.named(step.op.output_shape(&shapes[shapes.len() - 1]))?;
            step.named(elements(&made))?;
            shapes.push(made);
        }
        Ok(shapes)
    }

    /// The last step that moves values; none if all work in place.
    fn last_move(&self) -> Option<usize> {
        self.steps.iter().rposition(|step| !step.op.is_in_place())
    }

    /// Elements of A, and of B.
    fn area(&self, shapes: &[Vec<usize>]) -> Result<usize> {
        let last = self.last_move().unwrap_or(0);
        if last == 0 {
            return Ok(0);
        }
        let first = usize::from(!self.steps[0].op.is_in_place());
        let held = &shapes[first..=last];
        held.iter().map(|shape| elements(shape)).try_fold(0, |most, count| Ok(most.max(count?)))
    }

    pub(crate) fn scratch_len(&self, shape: &[usize]) -> Result<usize> {
        let shapes = self.shapes(shape)?;
        let mut rest = 0;
        for (step, shape) in self.steps.iter().zip(&shapes) {
            rest = rest.max(step.op.scratch_len(shape)?);
        }
        Ok(2 * self.area(&shapes)? + rest)
    }

    /// Runs every step. The lengths have been checked: `input` and `out` by the shapes, `scratch` by
    /// [`scratch_len`](Self::scratch_len).
    pub(crate) fn run(
        &self,
        run: Run<'_>,
        input: &[f32],
        shape: &[usize],
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        let shapes = self.shapes(shape)?;
        let area = self.area(&shapes)?;
        let (a, rest) = scratch.split_at_mut(area);
        let (b, rest) = rest.split_at_mut(area);
        let last_move = self.last_move();
        let mut place = Place::Input;
        for (index, (step, shapes)) in self.steps.iter().zip(shapes.windows(2)).enumerate() {
            run.check()?;
            let (before, after) = (elements(&shapes[0])?, elements(&shapes[1])?);
            let beyond = last_move.is_none_or(|last| index >= last);
            if step.op.is_in_place() {
                if place == Place::Input {
                    place = if beyond { Place::Out } else { Place::A };
                    let target = if beyond { &mut *out } else { &mut a[..before] };
                    target.copy_from_slice(input);
                }
                let values = match place {
                    Place::A => &mut a[..before],
                    Place::B => &mut b[..before],
                    Place::Input | Place::Out => &mut *out,
                };
                step.op.run_in_place(run.isa, &shapes[0], values);
                continue;
            }
            let next = match place {
                _ if beyond => Place::Out,
                Place::A => Place::B,
                _ => Place::A,
            };
            let (from, to): (&[f32], &mut [f32]) = match (place, next) {
                (Place::A, Place::B) => (&a[..before], &mut b[..after]),
                (Place::A, _) => (&a[..before], &mut *out),
                (Place::B, Place::A) => (&b[..before], &mut a[..after]),
                (Place::B, _) => (&b[..before], &mut *out),
                (_, Place::A) => (input, &mut a[..after]),
                (_, _) => (input, &mut *out),
            };
            step.named(step.op.run(run, &shapes[0], from, rest, to))?;
            place = next;
        }
        if place == Place::Input {
            out.copy_from_slice(input);
        }
        Ok(())
    }
}
