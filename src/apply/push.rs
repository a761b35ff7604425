//! Pushes images of the store under their names.
//!
//! In: names. Out: what registries have. Which images are pushed is decided in `plan::transfers`.
//! Imports: `base`, `image`, `run`.

use super::images::with_causes;
use super::run::{Run, tell};
use super::{ApplyError, Context};
use crate::base::event::{Kind, Status};
use crate::image::attest::Along;
use crate::image::reference::Reference;
use crate::image::registry::{self, PushError, PushOptions};
use crate::image::store::Image;

/// Pushes an image under a name.
///
/// # Errors
/// The registry's; [`ApplyError::cancelled`].
pub(super) fn push(context: &Context, image: &Image, name: &Reference) -> Result<(), ApplyError> {
    let shown = name.to_string();
    let say = |status| tell(context, Kind::Image, &shown, status, None);
    say(Status::Working("Pushing"));
    let options = PushOptions {
        env: context.env.clone(),
        cancel: context.cancel.clone(),
        ..PushOptions::default()
    };
    // What was built for several platforms goes there as one: whoever pulls it gets his own.
    let all = context.store.variants(name);
    let all = all.map_err(|error| ApplyError::new(error.to_string()))?;
    let (store, events) = (&context.store, &*context.events);
    let pushed = match all.len() {
        0 | 1 => registry::push(store, image, name, &options, events),
        _ => registry::push_index(store, &all, &Along::default(), name, &options, events),
    };
    match pushed {
        Ok(_) => {
            say(Status::Done("Pushed"));
            Ok(())
        }
        Err(PushError::Cancelled(_)) => Err(ApplyError::cancelled()),
        Err(error) => Err(ApplyError::new(with_causes(&error))),
    }
}

impl Run<'_> {
    /// Pushes what the store has under a name; with `tolerate` a failure is only told.
    pub(super) fn push(&self, name: &str, tolerate: bool) -> Result<(), ApplyError> {
        match self.pushed(name) {
            Err(error) if tolerate && !error.is_cancelled() => {
                let status = Status::Warning(error.to_string());
                tell(self.context, Kind::Image, name, status, None);
                Ok(())
            }
            Err(error) if !error.is_cancelled() => {
                let status = Status::Failed(error.to_string());
                tell(self.context, Kind::Image, name, status, None);
                Err(error)
            }
            other => other,
        }
    }

    fn pushed(&self, name: &str) -> Result<(), ApplyError> {
        let failed = |error: &dyn std::error::Error| ApplyError::new(with_causes(error));
        let reference = Reference::parse(name).map_err(|error| failed(&error))?;
        let image = self.context.store.resolve(&reference);
        match image.map_err(|error| failed(&error))? {
            Some(image) => push(self.context, &image, &reference),
            None => Err(ApplyError::new(format!("no image `{name}` is here"))
                .hint("build it first: hoist build, or hoist build --push")),
        }
    }
}
