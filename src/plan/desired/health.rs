//! The probe: the image's, with the service's fields over it.
//!
//! Imports: `compose::model`, `engine::spec`, `image::config`.
//! Source: compose-spec, `healthcheck`; moby `daemon/health.go` for the defaults.

use std::time::Duration;

use crate::compose::model::{HealthcheckSpec, Service};
use crate::engine::spec::Healthcheck;
use crate::image::config::{HealthConfig, RunConfig};

/// Source: moby `daemon/health.go`, `defaultProbeInterval` and its neighbours.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
const START_INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn healthcheck(service: &Service, image: &RunConfig) -> Option<Healthcheck> {
    let none = (HealthcheckSpec::default(), HealthConfig::default());
    let own = service.healthcheck.as_ref().unwrap_or(&none.0);
    let base = image.healthcheck.as_ref().unwrap_or(&none.1);
    if own.disable {
        return None;
    }
    let test = own
        .test
        .as_deref()
        .filter(|test| !test.is_empty())
        .unwrap_or(&base.test);
    let command = command(test, image)?;
    // 0 is "not said" in an image and "the default" in a service.
    let time = |own: Option<Duration>, base: i64, default: Duration| {
        let base = u64::try_from(base).ok().map(Duration::from_nanos);
        own.or(base)
            .filter(|time| !time.is_zero())
            .unwrap_or(default)
    };
    Some(Healthcheck {
        command,
        interval: time(own.interval, base.interval, INTERVAL),
        timeout: time(own.timeout, base.timeout, TIMEOUT),
        retries: own
            .retries
            .or_else(|| u32::try_from(base.retries).ok())
            .filter(|retries| *retries > 0)
            .unwrap_or(RETRIES),
        start_period: time(own.start_period, base.start_period, Duration::ZERO),
        start_interval: time(own.start_interval, base.start_interval, START_INTERVAL),
    })
}

fn command(test: &[String], image: &RunConfig) -> Option<Vec<String>> {
    match test {
        [kind, rest @ ..] if kind == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
        [kind, text @ ..] if kind == "CMD-SHELL" && !text.is_empty() => {
            let sh = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let mut command = image
                .shell
                .clone()
                .filter(|s| !s.is_empty())
                .unwrap_or_else(sh);
            command.push(text.join(" "));
            Some(command)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_services_fields_lie_over_the_images_probe() {
        let probe = HealthConfig {
            test: texts(&["CMD-SHELL", "ok"]),
            retries: 7,
            ..Default::default()
        };
        let image = RunConfig {
            healthcheck: Some(probe),
            ..Default::default()
        };
        let own = HealthcheckSpec {
            interval: Some(Duration::from_secs(1)),
            ..Default::default()
        };
        let mut service = Service {
            healthcheck: Some(own),
            ..Default::default()
        };
        let got = healthcheck(&service, &image).expect("the image has a probe");
        assert_eq!(got.command, texts(&["/bin/sh", "-c", "ok"]));
        assert_eq!(
            (got.interval, got.timeout, got.retries),
            (Duration::from_secs(1), TIMEOUT, 7)
        );
        for off in [
            HealthcheckSpec {
                disable: true,
                ..Default::default()
            },
            HealthcheckSpec {
                test: Some(texts(&["NONE"])),
                ..Default::default()
            },
        ] {
            service.healthcheck = Some(off);
            assert_eq!(healthcheck(&service, &image), None);
        }
    }
}
