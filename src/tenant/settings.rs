//! Pools of tenants as data: their tiers, their seats, their quotas.

use std::borrow::Cow;

use super::config::TenantConfig;
use super::scheduler::SchedulerConfig;
use super::tier::{Tier, Tiers, Weight};
use crate::limit::rate::KeyedRateConfig;
use crate::num::{Ratio, count};
use crate::settings::{Given, Keys, Place, Setting, as_data, table};

/// The name of a tier.
struct Name(String);

impl Setting for Name {
    fn expected() -> Cow<'static, str> {
        "the name of a tier, 1 to 64 letters, digits, -, _ and .".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let read = match &given {
            Given::Text(text) if (1..=64).contains(&text.len()) && text.chars().all(plain) => {
                Some(Self(text.clone()))
            }
            _ => None,
        };
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Text(self.0.clone())
    }
}

impl Setting for Weight {
    fn expected() -> Cow<'static, str> {
        "a weight from 1 to 10000".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = match given {
            Given::Integer(weight) => u32::try_from(weight).ok(),
            _ => None,
        };
        let read = read.and_then(|weight| Self::new("weight", weight).ok());
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Integer(self.get().into())
    }
}

/// When a tier is shed.
#[derive(Clone, Copy)]
struct Shed(u8);

impl Setting for Shed {
    fn expected() -> Cow<'static, str> {
        "a number from 0 to 255".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let read = match given {
            Given::Integer(order) => u8::try_from(order).ok().map(Self),
            _ => None,
        };
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        Given::Integer(self.0.into())
    }
}

/// A tier, and what each of its tenants may send.
#[derive(Clone)]
struct Class {
    tier: Tier,
    quota: Option<KeyedRateConfig>,
}

impl Setting for Class {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let base = Tier::new("");
            let name = keys.needs("name", None::<Name>);
            let tier = Tier::new(name.as_ref().map_or(String::new(), |name| name.0.clone()))
                .weight(keys.set("weight", base.share_weight()))
                .reserved(keys.set("reserved", base.reserved_share()))
                .held(keys.set("held", base.held_share()))
                .limit(keys.set("limit", base.largest_share()))
                .queue(keys.set("queue", base.queue_bound()))
                .tenant_queue(keys.set("tenant_queue", base.tenant_queue_bound()))
                .patience(keys.set("patience", base.longest_wait()))
                .tenant_share(keys.set("tenant_share", base.largest_tenant_share()))
                .shed(keys.set("shed", Shed(base.shed_order())).0);
            let quota = keys.set("quota", None);
            name.map(|_| Self { tier, quota })
        })
    }

    fn write(&self) -> Given {
        let tier = &self.tier;
        table([
            ("name", Given::Text(tier.name().to_owned())),
            ("weight", tier.share_weight().write()),
            ("reserved", tier.reserved_share().write()),
            ("held", tier.held_share().write()),
            ("limit", tier.largest_share().write()),
            ("queue", tier.queue_bound().write()),
            ("tenant_queue", tier.tenant_queue_bound().write()),
            ("patience", tier.longest_wait().write()),
            ("tenant_share", tier.largest_tenant_share().write()),
            ("shed", Shed(tier.shed_order()).write()),
            ("quota", self.quota.write()),
        ])
    }
}

/// The tiers of a pool, the best first.
struct Classes(Vec<Class>);

impl Setting for Classes {
    fn expected() -> Cow<'static, str> {
        "a list of 1 to 8 tiers, the best first".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let each = |given, place: Place<'_>| Class::read(given, None, place);
        place.list(given, Self::expected(), each).map(Self)
    }

    fn write(&self) -> Given {
        Given::List(self.0.iter().map(Setting::write).collect())
    }
}

/// The tiers together, or a note of what does not fit.
fn fitting(keys: &mut Keys<'_>) -> Option<(Tiers, Vec<Class>)> {
    let Classes(classes) = keys.needs("tiers", None)?;
    match Tiers::new(classes.iter().map(|class| class.tier.clone())) {
        Ok(tiers) => Some((tiers, classes)),
        Err(error) => {
            // The first tier with which it does not fit; what is wrong with their number is nobody's of them.
            let fits = |n: &usize| {
                Tiers::new(classes.iter().take(*n).map(|class| class.tier.clone())).is_ok()
            };
            let error = match error.field() {
                "tiers" => error,
                _ => {
                    let place = (1..classes.len()).take_while(fits).count();
                    error.within(&format!("tiers[{place}]"))
                }
            };
            keys.refuse_parts(&error.into());
            None
        }
    }
}

impl Setting for TenantConfig {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let capacity = keys.needs("capacity", None);
            let fitting = fitting(keys);
            // Any tiers: the others have defaults of their own.
            let one = Tiers::new([Tier::new("any").reserved(Ratio::ZERO)]).ok()?;
            let base = SchedulerConfig::new(count(1), one);
            let queue = keys.set("queue", base.queue_bound());
            let tenants = keys.set("tenants", base.most_tenants());
            let debt = keys.set("debt", base.most_debt());
            let guess = keys.set("guess", base.first_guess());
            let adaptive = keys.set("adaptive", None);
            let (tiers, classes) = fitting?;
            let scheduler = SchedulerConfig::new(capacity?, tiers)
                .queue(queue)
                .tenants(tenants)
                .debt(debt)
                .guess(guess);
            let mut config = Self::of(scheduler);
            config.adaptive = adaptive;
            for (quota, class) in config.quotas.iter_mut().zip(classes) {
                *quota = class.quota;
            }
            match config.can_be() {
                Ok(()) => Some(config),
                Err(error) => {
                    keys.refuse_parts(&error.into());
                    None
                }
            }
        })
    }

    fn write(&self) -> Given {
        let scheduler = &self.scheduler;
        let classes = scheduler.tiers().iter().map(|(id, tier)| Class {
            tier: tier.clone(),
            quota: self.quota_of(id),
        });
        table([
            ("capacity", scheduler.capacity().write()),
            ("queue", scheduler.queue_bound().write()),
            ("tenants", scheduler.most_tenants().write()),
            ("debt", scheduler.most_debt().write()),
            ("guess", scheduler.first_guess().write()),
            ("adaptive", self.adaptive.write()),
            ("tiers", Classes(classes.collect()).write()),
        ])
    }
}

as_data!(TenantConfig);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::adaptive::AdaptiveConfig;
    use crate::limit::rate::Rate;
    use crate::num::Period;
    use crate::presets;
    use crate::settings::check;

    #[test]
    fn what_is_written_is_read_back() {
        let erp = TenantConfig::new(count(64), presets::erp::tiers());
        let gpu = TenantConfig::new(count(8), presets::erp::gpu_tiers())
            .adaptive(AdaptiveConfig::new())
            .quota("standard", Rate::burst(5, Period::secs(1)))
            .unwrap();
        for config in [erp, gpu] {
            assert_eq!(check::<TenantConfig>(config.write()), Ok(config));
        }
    }

    #[test]
    fn what_is_left_out_is_as_in_the_default_of_a_tier() {
        let given = serde_json::json!({"capacity": 4, "tiers": [{"name": "only"}]});
        let read: TenantConfig = serde_json::from_value(given).unwrap();
        let tiers = Tiers::new([Tier::new("only")]).unwrap();
        assert_eq!(read, TenantConfig::new(count(4), tiers));
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_path() {
        let given = serde_json::json!({
            "capacity": 0,
            "tiers": [
                {"name": "a b", "weight": 0},
                {"name": "b", "reserved": 2, "shed": 300, "patience": "0s", "oops": 1},
            ],
        });
        let error = serde_json::from_value::<TenantConfig>(given).unwrap_err();
        let error = error.to_string();
        for path in [
            "capacity:",
            "tiers[0].name:",
            "tiers[0].weight:",
            "tiers[1].reserved:",
            "tiers[1].shed:",
            "tiers[1].patience:",
            "tiers[1].oops:",
        ] {
            assert!(error.contains(path), "{path} in {error}");
        }
        let twice = serde_json::json!({"capacity": 1, "tiers": [{"name": "a"}, {"name": "a"}]});
        let error = serde_json::from_value::<TenantConfig>(twice).unwrap_err();
        let expected = "tiers[1].name: expected a name that no other tier has, got a";
        assert_eq!(error.to_string(), expected);
        let half = serde_json::json!({"name": "a", "reserved": "60%"});
        let more = serde_json::json!({"name": "b", "reserved": 0.5});
        let given = serde_json::json!({"capacity": 1, "tiers": [half, more, {"name": "c"}]});
        let error = serde_json::from_value::<TenantConfig>(given).unwrap_err();
        assert!(
            error.to_string().starts_with("tiers[1].reserved: "),
            "{error}"
        );
        let eight: Vec<_> = "abcdefgh".chars().collect();
        let eight: Vec<_> = eight
            .iter()
            .map(|name| serde_json::json!({"name": name}))
            .collect();
        for (given, path) in [
            (
                serde_json::json!({"capacity": 200, "tiers": eight}),
                "capacity: expected at most 127 seats",
            ),
            (
                serde_json::json!({"capacity": 9, "adaptive": {"bounds": {"most": 128}}, "tiers": eight}),
                "adaptive.bounds.most: expected at most 127 seats",
            ),
            (
                serde_json::json!({"capacity": 9, "tenants": (1 << 24) + 1, "tiers": eight}),
                "tenants: expected at most 16777216 tenants",
            ),
        ] {
            let error = serde_json::from_value::<TenantConfig>(given).unwrap_err();
            assert!(error.to_string().starts_with(path), "{error}");
        }
        let none = serde_json::json!({"capacity": 1, "tiers": []});
        let error = serde_json::from_value::<TenantConfig>(none).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tiers: expected from 1 to 8 tiers, got 0"
        );
    }
}
