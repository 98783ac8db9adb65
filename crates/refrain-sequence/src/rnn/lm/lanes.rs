//! What the lanes of a stream have left behind: one state of `size` values each.

use crate::batch::Example;

/// The states a batch begins with, `[examples, size]`: those of its lanes, zeros where a lane or
/// a document begins.
pub(super) fn take(lanes: &[f32], batch: &[Example], size: usize) -> Vec<f32> {
    let mut states = vec![0.0; batch.len() * size];
    for (example, state) in batch.iter().zip(states.chunks_exact_mut(size)) {
        let Some(lane) = example.lane.filter(|lane| !lane.begins) else {
            continue;
        };
        if let Some(left) = lanes.get(lane.index * size..(lane.index + 1) * size) {
            state.copy_from_slice(left);
        }
    }
    states
}

/// Leaves the states after a batch to its lanes.
pub(super) fn leave(lanes: &mut Vec<f32>, batch: &[Example], size: usize, states: &[f32]) {
    for (example, state) in batch.iter().zip(states.chunks_exact(size)) {
        let Some(lane) = example.lane else { continue };
        let end = (lane.index + 1) * size;
        if lanes.len() < end {
            lanes.resize(end, 0.0);
        }
        lanes[end - size..end].copy_from_slice(state);
    }
}
