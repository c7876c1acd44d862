//! Where the log goes: nowhere, unless `IRONCLIW_LOG` asks for it on standard error.
//!
//! Its value is a filter as `tracing-subscriber` reads them: `warn`, or `ironcliw=debug`.

use tracing_subscriber::EnvFilter;

pub(crate) fn install() {
    let Ok(filter) = EnvFilter::try_from_env("IRONCLIW_LOG") else { return };
    // Somebody else's subscriber stays.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
