//! Checks the Dockerfiles of services without building anything.
//!
//! Imports: `build`, the siblings.

use super::super::{ApplyError, Context};
use super::recipe::Recipe;
use super::{with_builder, with_causes};
use crate::base::name::ServiceName;
use crate::build::call::{Answer, Call, call};
use crate::compose::model::Project;
use crate::plan::BuildTweaks;

/// Answers a question about the Dockerfile of each service, of all that can be built when none is named.
///
/// # Errors
/// Whatever is wrong with the keys of a `build`, or a Dockerfile that can't be read.
pub fn ask_builds(
    context: &Context,
    project: &Project,
    (services, tweaks): (&[String], &BuildTweaks),
    question: Call,
) -> Result<Vec<(ServiceName, Answer)>, ApplyError> {
    let mut answers = Vec::new();
    for (service, spec) in project
        .services
        .values()
        .filter_map(|s| Some((s, s.build.as_ref()?)))
    {
        let name = &service.name;
        if !services.is_empty() && !services.iter().any(|wanted| wanted == name.as_str()) {
            continue;
        }
        let mut recipe = Recipe::new(context, project, (service, spec), tweaks);
        let request = recipe.outline();
        if recipe.found.has_errors() {
            return Err(ApplyError::faults(recipe.found, &project.sources));
        }
        let answer = with_builder(context, true, |builder| call(question, &request, builder));
        let answer = answer.map_err(|error| ApplyError::new(with_causes(&error)))?;
        answers.push((name.clone(), answer));
    }
    Ok(answers)
}
