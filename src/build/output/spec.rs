//! Outputs as users write them: `type=local,dest=out`, `out`, `-`.
//!
//! In: text of `--output`. Out: an [`Output`], or what is wrong and what to write. It looks at no file.
//! Imports: `build::cache::spec` (how `key=value` lists are read), `image`. Rules: buildx, `util/buildflags/export.go` and
//! `build/opt.go`; its reference, "Exporters".

use std::path::Path;

use super::{Archive, Dest, Files, Kept, Kind, Output};
use crate::build::cache::spec::{Fields, split};
use crate::image::attest::Annotation;
use crate::image::reference::Reference;
use crate::image::registry::Form;

impl Output {
    /// Parses one text; paths are below `base`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let parts = split(text)?;
        if parts.len() == 1 && !text.starts_with("type=") {
            return Ok(Self::Files(Files {
                packed: text == "-",
                dest: dest(text, base),
                split: None,
            }));
        }
        if let Some(wrong) = parts.iter().find(|part| !part.contains('=')) {
            return Err(format!("invalid value {wrong}: write type=local,dest=DIR"));
        }
        let mut fields = Fields::of(text)?.unwrap_or_default();
        let kind = fields.take("type").filter(|kind| !kind.is_empty());
        let kind = kind.ok_or("type is required for output")?;
        let output = match kind.as_str() {
            "local" => local(&mut fields, base)?,
            "tar" => Self::Files(Files {
                packed: true,
                dest: dest(&fields.take("dest").unwrap_or_else(|| "-".to_owned()), base),
                split: fields.flag("platform-split")?,
            }),
            "image" | "registry" => image(&mut fields, kind == "registry")?,
            "oci" | "docker" => archive(&mut fields, &kind, base)?,
            "cacheonly" => Self::Nothing,
            other => {
                return Err(format!(
                    "exporter \"{other}\" could not be found: use local, tar, oci, docker, image, registry or cacheonly"
                ));
            }
        };
        fields.end(&kind)?;
        Ok(output)
    }
    /// Names of its own.
    pub fn names(&self) -> &[Reference] {
        match self {
            Self::Image(kept) => &kept.names,
            Self::Archive(archive) => &archive.names,
            Self::Files(_) | Self::Nothing => &[],
        }
    }
}

fn dest(text: &str, base: &Path) -> Dest {
    match text {
        "-" => Dest::Stdout,
        path => Dest::Path(base.join(path)),
    }
}

fn local(fields: &mut Fields, base: &Path) -> Result<Output, String> {
    let given = fields.take("dest").filter(|dest| !dest.is_empty());
    let dest = match dest(&given.ok_or("dest is required for local exporter")?, base) {
        Dest::Stdout => return Err("dest cannot be stdout for local exporter".to_owned()),
        path @ Dest::Path(_) => path,
    };
    if let Some(mode) = fields.take("mode").filter(|mode| mode != "copy") {
        return Err(match mode.as_str() {
            "delete" => "mode=delete: nothing is removed from a directory; name one that is empty",
            _ => "mode: write copy",
        }
        .to_owned());
    }
    Ok(Output::Files(Files {
        packed: false,
        dest,
        split: fields.flag("platform-split")?,
    }))
}

fn names(fields: &mut Fields) -> Result<Vec<Reference>, String> {
    let given = fields.take("name").unwrap_or_default();
    let names = given
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names
        .map(|name| Reference::parse(name).map_err(|error| error.to_string()))
        .collect()
}

fn image(fields: &mut Fields, registry: bool) -> Result<Output, String> {
    let mut kept = Kept {
        names: names(fields)?,
        push: fields.flag("push")?.unwrap_or(registry),
        repack: fields.flag("force-compression")?.unwrap_or_default(),
        ..Kept::default()
    };
    if let Some(text) = fields.take("compression") {
        kept.packing = text.parse()?;
    }
    if fields.flag("oci-mediatypes")? == Some(false) {
        kept.form = Form::Docker;
    }
    kept.by_digest = fields.flag("push-by-digest")?.unwrap_or_default();
    // What comes out has one level; the store unpacks what it keeps, and keeps it.
    for known in ["compression-level", "store", "unpack", "name-canonical"] {
        fields.take(known);
    }
    kept.annotations = annotations(fields)?;
    fields.flag("rewrite-timestamp")?;
    Ok(Output::Image(kept))
}

fn archive(fields: &mut Fields, kind: &str, base: &Path) -> Result<Output, String> {
    let spread = fields.flag("tar")? == Some(false);
    let given = fields.take("dest").filter(|dest| !dest.is_empty());
    let names = names(fields)?;
    let annotations = annotations(fields)?;
    for known in ["oci-mediatypes", "rewrite-timestamp"] {
        fields.flag(known)?;
    }
    let packing = fields.take("compression").map(|text| text.parse());
    let packing = packing.transpose()?;
    for known in ["compression-level", "force-compression"] {
        fields.take(known);
    }
    let dest = match (given, kind) {
        // As buildx with Docker's own builder: it is loaded.
        (None, "docker") if !spread => {
            return Ok(Output::Image(Kept {
                names,
                annotations,
                ..Kept::default()
            }));
        }
        (None, _) if spread => return Err(format!("dest is required for {kind} exporter")),
        (None, _) => Dest::Stdout,
        (Some(given), _) => dest(&given, base),
    };
    if spread && dest == Dest::Stdout {
        return Err(format!("dest cannot be stdout for {kind} exporter"));
    }
    let kind = match kind {
        "docker" => Kind::Docker,
        _ => Kind::Oci,
    };
    Ok(Output::Archive(Archive {
        kind,
        names,
        dest,
        spread,
        packing,
        annotations,
    }))
}

fn annotations(fields: &mut Fields) -> Result<Vec<Annotation>, String> {
    let mut found = Vec::new();
    while let Some(key) = fields.find("annotation").map(str::to_owned) {
        let value = fields.take(&key).unwrap_or_default();
        let read = Annotation::of_output(&key, &value);
        found.push(read.map_err(|why| format!("{key}: {why}"))?);
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Output, String> {
        Output::parse(text, Path::new("/p"))
    }

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let files = |packed, dest: Dest, split| {
            Ok(Output::Files(Files {
                packed,
                dest,
                split,
            }))
        };
        let path = |text: &str| Dest::Path(text.into());
        assert_eq!(parse("out"), files(false, path("/p/out"), None));
        assert_eq!(parse("dest=x"), files(false, path("/p/dest=x"), None));
        assert_eq!(parse("-"), files(true, Dest::Stdout, None));
        assert_eq!(parse("type=tar"), files(true, Dest::Stdout, None));
        assert_eq!(
            parse("type=local,dest=/o,platform-split=false"),
            files(false, path("/o"), Some(false))
        );
        let Ok(Output::Image(kept)) = parse("type=registry,\"name=a,b\",compression=zstd") else {
            panic!("no image");
        };
        assert_eq!((kept.names.len(), kept.push), (2, true));
        let Ok(Output::Image(kept)) = parse("type=docker") else {
            panic!("no image");
        };
        assert!(!kept.push);
        let Ok(Output::Archive(archive)) = parse("type=oci,tar=false,dest=d") else {
            panic!("no archive");
        };
        assert!(archive.spread && archive.kind == Kind::Oci);
        assert_eq!(parse("type=cacheonly"), Ok(Output::Nothing));
        assert!(parse("type=oci").unwrap().is_stdout());
    }

    #[test]
    fn what_is_wrong_with_an_output_is_said() {
        for (text, said) in [
            ("foo,bar", "invalid value foo"),
            ("type=local,dest", "invalid value dest"),
            ("type=", "type is required for output"),
            ("dest=x,a=b", "type is required for output"),
            ("type=foo", "exporter \"foo\" could not be found"),
            ("type=local", "dest is required for local exporter"),
            (
                "type=local,dest=-",
                "dest cannot be stdout for local exporter",
            ),
            ("type=local,dest=a,mode=delete", "nothing is removed"),
            ("type=local,dest=a,push=true", "has no `push`"),
            ("type=image,push=maybe", "write true or false"),
            ("type=image,compression=foo", "no compression"),
            ("type=image,annotation-all.a=b", "unknown annotation type"),
            ("type=oci,tar=false", "dest is required for oci exporter"),
            ("type=oci,compression=lz4", "no compression"),
            ("type=image,name=A:B:C", "A:B:C"),
        ] {
            let wrong = parse(text).expect_err(text);
            assert!(wrong.contains(said), "{text}: {wrong}");
        }
    }
}
