//! The policies that are compared, each with its headroom as the one number that is swept.

use mainstay::autoscale::forecast::{Forecast, ForecastConfig, Foreseeing};
use mainstay::autoscale::gpu::{Documented, DocumentedConfig, Gpu, GpuConfig};
use mainstay::autoscale::knative::{Knative, KnativeConfig};
use mainstay::autoscale::{Amount, Autoscaler, Bounds};
use mainstay::num::{Factor, Period};
use std::error::Error;

use crate::kubernetes::{By, Kubernetes};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Foreseeing,
    Gpu,
    Hpa(By, u16),
    Knative,
    Documented,
}

pub(crate) const ALL: [Kind; 9] = [
    Kind::Foreseeing,
    Kind::Gpu,
    Kind::Hpa(By::Rate, 300),
    Kind::Hpa(By::Rate, 900),
    Kind::Hpa(By::RateAndQueue, 300),
    Kind::Hpa(By::Cpu, 300),
    Kind::Hpa(By::Document, 300),
    Kind::Knative,
    Kind::Documented,
];

/// Enough to see each rule at work within seconds.
pub(crate) const FEW: [Kind; 3] = [Kind::Foreseeing, Kind::Hpa(By::Rate, 300), Kind::Knative];

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Foreseeing => "gpu + forecast",
            Self::Gpu => "gpu",
            Self::Hpa(By::Rate, 300) => "hpa rate 300s",
            Self::Hpa(By::Rate, _) => "hpa rate 900s",
            Self::Hpa(By::RateAndQueue, _) => "hpa rate+queue",
            Self::Hpa(By::Cpu, _) => "hpa cpu",
            Self::Hpa(By::Document, _) => "hpa document",
            Self::Knative => "knative",
            Self::Documented => "documented",
        }
    }

    pub(crate) const fn is_hpa(self) -> bool {
        matches!(self, Self::Hpa(..))
    }

    /// Of replicas that serve `capacity` a second.
    pub(crate) fn build(
        self,
        capacity: f64,
        headroom: f64,
        warm_up: u32,
    ) -> Result<Box<dyn Autoscaler>, Box<dyn Error>> {
        const MOST: u32 = 200;
        let bounds = Bounds::between(1, MOST);
        let with_headroom = Amount::new("capacity", capacity / headroom)?;
        let gpu = || -> Result<Gpu, Box<dyn Error>> {
            let capacity = Amount::new("capacity", capacity)?;
            let config = GpuConfig::new(bounds, capacity, Period::secs(warm_up));
            Ok(Gpu::new(
                config.headroom(Factor::new("headroom", headroom)?),
            ))
        };
        Ok(match self {
            Self::Gpu => Box::new(gpu()?),
            Self::Foreseeing => {
                let forecast = ForecastConfig::for_warm_up(Period::secs(warm_up));
                Box::new(Foreseeing::new(gpu()?, Forecast::new(forecast)))
            }
            Self::Hpa(by, window) => Box::new(Kubernetes::new(
                by,
                MOST.cast_signed(),
                capacity,
                headroom,
                window,
            )?),
            Self::Knative => Box::new(Knative::new(KnativeConfig::new(bounds, with_headroom))),
            Self::Documented => {
                let config = DocumentedConfig::new()
                    .bounds(bounds)
                    .capacity(with_headroom);
                Box::new(Documented::new(config))
            }
        })
    }
}
