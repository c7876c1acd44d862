//! [`Recipient`]: an address that has forgotten what the actor is.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{Address, SendError};
use crate::{Handler, Message};

trait Accept<M: Message>: Send + Sync {
    fn tell(&self, message: M) -> Pin<Box<dyn Future<Output = Result<(), SendError<M>>> + Send>>;
    fn try_tell(&self, message: M) -> Result<(), SendError<M>>;
    fn path(&self) -> &str;
}

impl<A, M> Accept<M> for Address<A>
where
    A: Handler<M>,
    M: Message,
{
    fn tell(&self, message: M) -> Pin<Box<dyn Future<Output = Result<(), SendError<M>>> + Send>> {
        let address = self.clone();
        Box::pin(async move { Self::tell(&address, message).await })
    }

    fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        Self::try_tell(self, message)
    }

    fn path(&self) -> &str {
        Self::path(self)
    }
}

/// Any actor that takes `M`, whatever else it is.
pub struct Recipient<M: Message> {
    to: Arc<dyn Accept<M>>,
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self { to: self.to.clone() }
    }
}

impl<M: Message> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.path())
    }
}

impl<M: Message> Recipient<M> {
    pub(super) fn new<A: Handler<M>>(to: Address<A>) -> Self {
        Self { to: Arc::new(to) }
    }

    /// As [`Address::tell`].
    ///
    /// # Errors
    /// Those of [`Address::tell`].
    pub async fn tell(&self, message: M) -> Result<(), SendError<M>> {
        self.to.tell(message).await
    }

    /// As [`Address::try_tell`].
    ///
    /// # Errors
    /// Those of [`Address::try_tell`].
    pub fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        self.to.try_tell(message)
    }

    /// The actor's path.
    pub fn path(&self) -> &str {
        self.to.path()
    }
}
