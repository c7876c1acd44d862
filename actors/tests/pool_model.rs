//! Any program of a few threads does with a pool what its model says: see `pool_program`.

mod pool_program;

use pool_program::{STEP_BYTES, Step, run};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_pool_behaves_as_its_model_whichever_thread_takes_the_step(
        limit in 64usize..400_000,
        program in prop::collection::vec(any::<[u8; STEP_BYTES]>(), 1..300),
    ) {
        run(limit, program.into_iter().map(Step::decode));
    }
}
