//! The probes: the image's with the service's fields over it, and `x-hoist.ready`.
//!
//! Imports: `compose::model`, `engine::spec`, `image::config`.
//! Source: compose-spec, `healthcheck`; moby `daemon/health.go` for the defaults.

use std::time::Duration;

use crate::compose::model::{HealthcheckSpec, Service, TimingSpec};
use crate::engine::spec::{Healthcheck, HttpProbe, Ready, Timing};
use crate::image::config::{HealthConfig, RunConfig};

/// Source: moby `daemon/health.go`, `defaultProbeInterval` and its neighbours.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
const START_INTERVAL: Duration = Duration::from_secs(5);

/// Those of `x-hoist.ready` where neither it nor `healthcheck` says any: who waits should not wait for long.
const READY: Timing = Timing {
    interval: Duration::from_secs(10),
    timeout: Duration::from_secs(5),
    retries: RETRIES,
    start_period: Duration::from_secs(60),
    start_interval: Duration::from_millis(200),
};

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
    let nanos = |nanos| u64::try_from(nanos).ok().map(Duration::from_nanos);
    let base = TimingSpec {
        interval: nanos(base.interval),
        timeout: nanos(base.timeout),
        retries: u32::try_from(base.retries).ok(),
        start_period: nanos(base.start_period),
        start_interval: nanos(base.start_interval),
    };
    let default = Timing {
        interval: INTERVAL,
        timeout: TIMEOUT,
        retries: RETRIES,
        start_period: Duration::ZERO,
        start_interval: START_INTERVAL,
    };
    Some(Healthcheck {
        command,
        timing: timing(&own.timing, &base, default),
    })
}

pub(super) fn ready(service: &Service) -> Option<Ready> {
    let own = service.ready.as_ref()?;
    let check = service.healthcheck.as_ref().map(|check| check.timing);
    Some(Ready {
        http: own.http.as_ref().map(|http| HttpProbe {
            port: http.port,
            path: http.path.clone(),
            status: http.status,
            headers: http.headers.clone(),
        }),
        tcp: own.tcp,
        log: own.log.clone(),
        timing: timing(&own.timing, &check.unwrap_or_default(), READY),
    })
}

/// What is said, over what lies below, over the defaults. 0 is "not said" in an image and "the default" in a service.
fn timing(own: &TimingSpec, base: &TimingSpec, default: Timing) -> Timing {
    let time = |own: Option<Duration>, base: Option<Duration>, default| {
        own.or(base)
            .filter(|time| !time.is_zero())
            .unwrap_or(default)
    };
    Timing {
        interval: time(own.interval, base.interval, default.interval),
        timeout: time(own.timeout, base.timeout, default.timeout),
        retries: own
            .retries
            .or(base.retries)
            .filter(|retries| *retries > 0)
            .unwrap_or(default.retries),
        // Here zero is a time: there is no such period.
        start_period: own
            .start_period
            .or(base.start_period)
            .unwrap_or(default.start_period),
        start_interval: time(
            own.start_interval,
            base.start_interval,
            default.start_interval,
        ),
    }
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
    use crate::compose::model::ReadySpec;

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
            timing: TimingSpec {
                interval: Some(Duration::from_secs(1)),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut service = Service {
            healthcheck: Some(own),
            ..Default::default()
        };
        let got = healthcheck(&service, &image).expect("the image has a probe");
        assert_eq!(got.command, texts(&["/bin/sh", "-c", "ok"]));
        let timing = got.timing;
        assert_eq!(
            (timing.interval, timing.timeout, timing.retries),
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

    #[test]
    fn readiness_has_its_own_times_over_those_of_the_health_check_over_its_defaults() {
        let second = Duration::from_secs(1);
        let mut service = Service::default();
        assert_eq!(ready(&service), None);
        let mut probe = ReadySpec {
            tcp: Some(80),
            ..Default::default()
        };
        service.ready = Some(probe.clone());
        assert_eq!(ready(&service).map(|ready| ready.timing), Some(READY));
        service.healthcheck = Some(HealthcheckSpec {
            timing: TimingSpec {
                interval: Some(second),
                timeout: Some(second * 2),
                ..Default::default()
            },
            ..Default::default()
        });
        probe.timing.interval = Some(second * 3);
        probe.timing.start_period = Some(Duration::ZERO);
        service.ready = Some(probe);
        let timing = ready(&service).expect("it is asked for").timing;
        assert_eq!((timing.interval, timing.timeout), (second * 3, second * 2));
        assert_eq!((timing.retries, timing.start_period), (3, Duration::ZERO));
    }
}
