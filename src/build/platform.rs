//! Platforms of a build: what is built for what, the arguments that say so, and whether its programs run here.
//!
//! In: the request, the kernel's interpreters. Out: platforms, `TARGETPLATFORM` and its like, or why a `RUN` can't run.
//! Imports: `image::manifest`, `sys::binfmt`. Rules: Dockerfile reference, "Automatic platform ARGs in the global
//! scope"; names as containerd's `platforms` writes them.

use std::path::Path;

use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::store::Store;
use crate::sys::binfmt;
use crate::sys::fs::Root;

/// What registers interpreters for other processors, as distributions name it. Those that qemu's own packages register are held open
/// by the kernel, so they are seen in every image.
const REGISTER: &str = "register an interpreter for it: apt-get install qemu-user-static binfmt-support (Fedora: dnf install \
     qemu-user-static; Arch: pacman -S qemu-user-static-binfmt)";

/// The platform a text names; `local` is this machine's.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Platform, String> {
    if text == "local" {
        return Ok(Platform::host());
    }
    let word = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let parsed = Platform::parse(text)
        .ok()
        .filter(|_| text.chars().all(word));
    let platform = parsed.ok_or_else(|| {
        format!("invalid platform {text:?}: write it like linux/amd64 or linux/arm/v7")
    })?;
    match platform.os.as_str() {
        "linux" => Ok(platform),
        other => Err(format!(
            "platform {text} is not supported here: hoist builds for Linux, not for {other}"
        )),
    }
}

/// The platform of the image that a request asks for; the machine's own unless it says otherwise.
///
/// # Errors
/// What is wrong with it.
pub(super) fn wanted(text: Option<&str>) -> Result<Platform, String> {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| Ok(Platform::host()), parse)
}

/// The arguments that every build has for its platforms.
pub(super) fn arguments(target: &Platform) -> Vec<(String, String)> {
    let host = Platform::host();
    let mut all = Vec::new();
    for (side, platform) in [("TARGET", target), ("BUILD", &host)] {
        let variant = platform.variant.clone().unwrap_or_default();
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
            ("OSVERSION", String::new()),
        ] {
            all.push((format!("{side}{name}"), value));
        }
    }
    all
}

/// Why programs of an architecture can't run on this machine, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) why: String,
    pub(super) hint: String,
}

/// Finds out whether programs of an architecture run here, in a root that stands on `layers`.
///
/// # Errors
/// [`Foreign`].
pub(super) fn check_runs(
    architecture: &str,
    layers: &[Digest],
    store: &Store,
) -> Result<(), Foreign> {
    // An image that does not say what it is for was made here.
    if architecture.is_empty() || binfmt::is_native(architecture) {
        return Ok(());
    }
    let host = Platform::host();
    let Some(handler) = binfmt::handler(architecture) else {
        return Err(Foreign {
            why: format!("RUN for linux/{architecture} can't run on this machine, which is {host}"),
            hint: REGISTER.to_owned(),
        });
    };
    if handler.fixed || is_inside(&handler.interpreter, layers, store) {
        return Ok(());
    }
    Err(Foreign {
        why: format!(
            "RUN for linux/{architecture} can't run: the interpreter {} is registered without the flag F, and is not in \
             the image",
            handler.interpreter.display()
        ),
        hint: REGISTER.to_owned(),
    })
}

/// Whether the root that stands on these layers holds a program.
fn is_inside(program: &Path, layers: &[Digest], store: &Store) -> bool {
    let Ok(view) = store.layers().view(layers) else {
        return false;
    };
    let inside = program.strip_prefix("/").unwrap_or(program);
    Root::from_fd(view).stat(inside).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_named_as_images_name_them() {
        for (text, name) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(
                parse(text).map(|found| found.to_string()),
                Ok(name.to_owned()),
                "{text}"
            );
        }
        assert_eq!(parse("local"), Ok(Platform::host()));
        assert_eq!(wanted(Some("")), Ok(Platform::host()));
        for wrong in [
            "",
            "linux//v7",
            "a/b/c/d",
            "linux/../x/y",
            "windows/amd64",
            "linux/amd 64",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_name_the_target_and_the_machine() {
        let target = parse("linux/arm").unwrap();
        let all = arguments(&target);
        let get = |name: &str| {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        assert_eq!(get("TARGETPLATFORM"), "linux/arm/v7");
        assert_eq!(
            (get("TARGETOS"), get("TARGETARCH"), get("TARGETVARIANT")),
            ("linux".into(), "arm".into(), "v7".into())
        );
        assert_eq!(get("BUILDPLATFORM"), Platform::host().to_string());
        assert_eq!(get("BUILDARCH"), Platform::host().architecture);
        assert_eq!(get("TARGETOSVERSION"), "");
        assert_eq!(all.len(), 10);
    }
}
