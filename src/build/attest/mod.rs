//! Statements about what was built: how it was (provenance), and what is in it (a bill of materials).
//!
//! In: what the user asks for, and a build's graph and results. Out: [`Statement`]s, whose subjects are filled in where the image
//! goes. It decides nothing about where they go.
//! Imports: `base`, `image`, `lower`, `cache::spec` (how `key=value` lists are read). Rules: buildx, `util/buildflags/attests.go`;
//! BuildKit, `docs/attestations`.

mod provenance;
mod sbom;

use super::cache::spec::Fields;
use super::dockerfile::ast::Dockerfile;
use super::lower::{Graph, Stage};
use super::output::Output;
use super::solve::Results;
use super::{BuildError, BuildRequest, Builder};
use crate::base::event::Event;
use crate::base::scalar::parse_bool;
use crate::image::attest::Statement;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::store::Image;

pub(super) use provenance::Facts;
pub use provenance::{Material, Used};

/// Makes the bill of materials where nobody names another. As BuildKit.
const SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";

/// What is attested of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attest {
    /// How it was made.
    pub provenance: Option<Provenance>,
    /// What is in it.
    pub sbom: Option<Sbom>,
}

/// How much is told of a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing that the caller gave could be a secret: no arguments, no labels.
    #[default]
    Min,
    /// Everything.
    Max,
}

/// The form of a provenance statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// SLSA 0.2.
    #[default]
    V02,
    /// SLSA 1.
    V1,
}

/// How a provenance statement is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much it tells.
    pub mode: Mode,
    /// Its form.
    pub version: Version,
    /// Who has built: an address.
    pub builder: String,
    /// The caller says that the build can be repeated.
    pub reproducible: bool,
    /// It goes with images only, not with files.
    pub inline_only: bool,
    /// Its file's name, where files go.
    pub file: Option<String>,
}

/// How a bill of materials is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// The image that makes it.
    pub scanner: Reference,
    /// What its program is told: variables.
    pub settings: Vec<(String, String)>,
}

impl Attest {
    /// Whether anything is attested.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }
    /// Takes in what `--provenance` or `provenance:` says: true, false, or settings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn provenance(&mut self, text: &str) -> Result<(), String> {
        self.take("provenance", text)
    }
    /// Takes in what `--sbom` or `sbom:` says: true, false, or settings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn sbom(&mut self, text: &str) -> Result<(), String> {
        self.take("sbom", text)
    }
    /// Takes in what `--attest` says: `type=provenance,mode=max`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn any(&mut self, text: &str) -> Result<(), String> {
        let mut fields = Fields::of(text)?.ok_or("write type=sbom or type=provenance")?;
        let kind = fields.take("type").filter(|kind| !kind.is_empty());
        let kind =
            kind.ok_or("attestation type not specified: write type=sbom or type=provenance")?;
        self.fields(&kind, fields)
    }
    fn take(&mut self, kind: &str, text: &str) -> Result<(), String> {
        match parse_bool(text) {
            Some(false) => self.fields(kind, off()),
            Some(true) => self.fields(kind, Fields::default()),
            None => {
                let fields = Fields::of(text)?;
                let wrong = || format!("`{text}`: write true, false or settings such as mode=max");
                self.fields(kind, fields.ok_or_else(wrong)?)
            }
        }
    }
    fn fields(&mut self, kind: &str, mut fields: Fields) -> Result<(), String> {
        let disabled = fields.flag("disabled")?.unwrap_or_default();
        match kind {
            "provenance" => {
                let made = provenance(&mut fields)?;
                fields.end(kind)?;
                self.provenance = made.filter(|_| !disabled);
            }
            "sbom" => {
                let made = sbom_settings(fields)?;
                self.sbom = (!disabled).then_some(made);
            }
            other => {
                return Err(format!(
                    "unsupported attestation type \"{other}\": use sbom or provenance"
                ));
            }
        }
        Ok(())
    }
}

/// `disabled=true`
fn off() -> Fields {
    Fields::of("disabled=true")
        .ok()
        .flatten()
        .unwrap_or_default()
}

fn provenance(fields: &mut Fields) -> Result<Option<Provenance>, String> {
    let mode = match fields.take("mode").as_deref() {
        None | Some("" | "min") => Mode::Min,
        Some("max") => Mode::Max,
        Some("none" | "disabled") => return Ok(None),
        Some(other) => {
            return Err(format!(
                "invalid provenance mode \"{other}\": use min or max"
            ));
        }
    };
    let version = match fields.take("version").as_deref() {
        None | Some("" | "v0.2") => Version::V02,
        Some("v1") => Version::V1,
        Some(other) => {
            return Err(format!(
                "invalid provenance version \"{other}\": use v0.2 or v1"
            ));
        }
    };
    Ok(Some(Provenance {
        mode,
        version,
        builder: fields.take("builder-id").unwrap_or_default(),
        reproducible: fields.flag("reproducible")?.unwrap_or_default(),
        inline_only: fields.flag("inline-only")?.unwrap_or_default(),
        file: file_name(fields.take("filename"))?,
    }))
}

/// A name that leads nowhere else.
fn file_name(name: Option<String>) -> Result<Option<String>, String> {
    match name.filter(|name| !name.is_empty()) {
        Some(name) if name.contains('/') || name == "." || name == ".." => {
            Err(format!("filename={name}: write a name without directories"))
        }
        name => Ok(name),
    }
}

fn sbom_settings(mut fields: Fields) -> Result<Sbom, String> {
    let scanner = fields.take("generator").filter(|name| !name.is_empty());
    let scanner = scanner.as_deref().unwrap_or(SCANNER);
    let scanner = Reference::parse(scanner).map_err(|error| error.to_string())?;
    // As BuildKit: what it does not know is the generator's.
    let mut settings = fields.rest();
    for (key, _) in &mut settings {
        *key = format!("BUILDKIT_SCAN_{}", key.to_ascii_uppercase());
    }
    Ok(Sbom { scanner, settings })
}

/// Whether statements have a place in an output; in the store of images there is none.
fn holds(output: &Output) -> bool {
    use super::output::Kind;
    match output {
        Output::Image(kept) => kept.push,
        Output::Archive(archive) => archive.kind == Kind::Oci,
        Output::Files(_) => true,
        Output::Nothing => false,
    }
}

/// Whether statements are asked for that have a place; if there is none, that is told.
pub(super) fn wanted(request: &BuildRequest, builder: &Builder<'_>) -> bool {
    if request.attest.is_empty() {
        return false;
    }
    let found = request.outputs.iter().any(holds);
    if !found {
        let what = match (&request.attest.provenance, &request.attest.sbom) {
            (Some(_), Some(_)) => "provenance and bill of materials go",
            (Some(_), None) => "provenance goes",
            (None, _) => "a bill of materials goes",
        };
        let text = format!(
            "{what} along with an image that is pushed, with type=oci and with files (type=local, tar): the store keeps none"
        );
        builder.events.send(Event::Warn(text));
    }
    found
}

/// Whether a stage's argument says yes.
fn says(stage: &Stage, name: &str) -> bool {
    stage
        .args
        .get(name)
        .and_then(|text| parse_bool(text))
        .unwrap_or_default()
}

/// Stages that the Dockerfile wants in the bill of materials besides the image: their names and layers.
pub(super) fn extras(
    graph: &Graph,
    results: &Results,
    file: &Dockerfile,
) -> Vec<(String, Vec<Digest>)> {
    let others = graph.stages.iter().filter(|(index, stage)| {
        **index != graph.target && says(stage, "BUILDKIT_SBOM_SCAN_STAGE")
    });
    let one = |(index, _): (&usize, &Stage)| {
        let name = file.stages.get(*index).and_then(|decl| decl.name.clone());
        let name = name.unwrap_or_else(|| format!("stage-{index}"));
        (format!("sbom-{name}"), results.layers(*index))
    };
    others.map(one).collect()
}

/// Whether the Dockerfile wants the context in the bill of materials.
pub(super) fn scans_context(graph: &Graph) -> bool {
    let mut stages = graph.stages.values();
    stages.any(|stage| says(stage, "BUILDKIT_SBOM_SCAN_CONTEXT"))
}

/// Makes the statements about one image.
///
/// # Errors
/// [`BuildError`]: those of the bill of materials' generator.
pub(super) fn statements(
    facts: &Facts<'_>,
    image: &Image,
    builder: &Builder<'_>,
) -> Result<Vec<Statement>, BuildError> {
    let mut all = Vec::new();
    if let Some(how) = &facts.request.attest.sbom {
        all.extend(sbom::scan(how, facts, image, builder)?);
    }
    if let Some(how) = &facts.request.attest.provenance {
        all.push(provenance::statement(how, facts, builder));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attested_is_read_as_buildx_reads_it() {
        let mut attest = Attest::default();
        attest.provenance("true").unwrap();
        assert_eq!(attest.provenance, Some(Provenance::default()));
        attest
            .any("type=provenance,mode=max,version=v1,builder-id=x,inline-only=true")
            .unwrap();
        let made = attest.provenance.clone().unwrap();
        assert_eq!((made.mode, made.version), (Mode::Max, Version::V1));
        assert!(made.inline_only && made.builder == "x");
        attest.provenance("false").unwrap();
        attest
            .sbom("generator=localhost:5000/scan,level=3")
            .unwrap();
        let made = attest.sbom.clone().unwrap();
        assert_eq!(made.scanner.to_string(), "localhost:5000/scan:latest");
        let setting = ("BUILDKIT_SCAN_LEVEL".to_owned(), "3".to_owned());
        assert_eq!(made.settings, [setting]);
        attest.any("type=sbom,disabled=true").unwrap();
        assert!(attest.is_empty());
        for wrong in [
            "type=provenance,mode=all",
            "type=provenance,version=v2",
            "type=provenance,what=x",
            "type=provenance,filename=../x",
            "type=other",
            "mode=max",
            "foo",
        ] {
            assert!(attest.any(wrong).is_err(), "{wrong}");
        }
        assert!(attest.provenance("yes please").is_err());
    }
}
