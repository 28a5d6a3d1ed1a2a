//! What a definition says of limits, as the machines take it.

use tieline_bus::System;
use tieline_delivery::limits::{AllocatorSettings, CallerId, CallerSettings, CostLimits, LimitsSettings};

use crate::consumer::RETRY_AFTER_MAX;

/// The limits of a system.
pub(super) fn limits(system: &System) -> LimitsSettings {
    let limits = &system.limits;
    LimitsSettings {
        per_second: limits.per_second,
        burst: limits.burst,
        in_flight: limits.in_flight,
        per_day: limits.per_day,
        zone: limits.time_zone.clone(),
        cost: limits.cost.as_ref().map(|cost| CostLimits {
            per_second: cost.per_second,
            burst: cost.burst,
            per_day: cost.per_day,
        }),
    }
}

/// A caller of the system in this process.
pub(super) fn caller(system: &System) -> CallerSettings {
    CallerSettings {
        system: system.name.clone(),
        // Another run of this process is another caller.
        id: CallerId::new(&uuid::Uuid::new_v4().to_string()),
        limits: limits(system),
        retry_after_max: RETRY_AFTER_MAX,
    }
}

/// Who divides the system's limits, or stands by, beside this caller.
pub(super) fn allocator(system: &System, caller: &CallerId) -> AllocatorSettings {
    AllocatorSettings {
        system: system.name.clone(),
        caller: caller.clone(),
        limits: limits(system),
        deadline: system.deadline,
    }
}
