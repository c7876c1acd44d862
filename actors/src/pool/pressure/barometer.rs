//! From all that is seen and heard to one level and its cause. Plain data: the time is an argument.

use std::time::{Duration, Instant};

use super::gauge::{PressureGauge, StallGauge};
use super::level::{Cause, Pressure};
use super::source::{Alarm, MemoryReading, Sight};

/// How long what an event told holds: longer than the kernel's own periods, and than a program needs to take notice.
pub(super) const EVENT_HOLDS: Duration = Duration::from_secs(3);

/// What follows from all causes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Pressure,
    /// Whose level that is; `None` at `Low`.
    pub(crate) cause: Option<Cause>,
    /// The same without the pool's own occupancy.
    pub(crate) of_system: Pressure,
    /// Each cause's own level, in the order of [`Cause::ALL`].
    pub(crate) by_cause: [Pressure; 4],
}

/// Follows all causes.
#[derive(Debug)]
pub(crate) struct Barometer {
    pool: PressureGauge,
    machine: PressureGauge,
    cgroup: PressureGauge,
    stalls: [StallGauge; 2],
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    alarm: Alarm,
    until: Instant,
}

impl Default for Barometer {
    fn default() -> Self {
        Self {
            pool: PressureGauge::default(),
            machine: PressureGauge::of_system(),
            cgroup: PressureGauge::of_system(),
            stalls: Default::default(),
            events: Vec::new(),
        }
    }
}

impl Barometer {
    pub(crate) fn see(&mut self, pool: MemoryReading, Sight { machine, cgroup, stalls }: Sight, now: Instant) {
        self.pool.update(pool.used, pool.limit);
        self.machine.see(machine);
        self.cgroup.see(cgroup);
        self.stalls.iter_mut().zip(stalls).for_each(|(gauge, stall)| gauge.see(stall, now));
    }

    /// The same where the system does not count: what it said before is forgotten.
    pub(crate) fn see_alone(&mut self, pool: MemoryReading) {
        *self = Self { pool: self.pool, ..Self::default() };
        self.pool.update(pool.used, pool.limit);
    }

    pub(crate) fn hear(&mut self, alarm: Alarm, now: Instant) {
        let until = now + EVENT_HOLDS;
        match self.events.iter_mut().find(|event| event.alarm == alarm) {
            Some(event) => event.until = until,
            None if alarm.level > Pressure::Low => self.events.push(Event { alarm, until }),
            None => {}
        }
    }

    pub(crate) fn verdict(&mut self, now: Instant) -> Verdict {
        self.events.retain(|event| event.until > now);
        let by_cause = Cause::ALL.map(|cause| self.level_of(cause));
        let worst = |causes: &[Cause]| {
            let levels = causes.iter().map(|&cause| (by_cause[cause as usize], cause));
            levels.max().filter(|&(level, _)| level > Pressure::Low)
        };
        let level_of = |worst: Option<(Pressure, Cause)>| worst.map_or(Pressure::Low, |(level, _)| level);
        let all = worst(&Cause::ALL);
        let of_system = level_of(worst(&[Cause::Psi, Cause::Machine, Cause::Cgroup]));
        Verdict { level: level_of(all), cause: all.map(|(_, cause)| cause), of_system, by_cause }
    }

    fn level_of(&self, cause: Cause) -> Pressure {
        let seen = match cause {
            Cause::Pool => self.pool.level(),
            Cause::Psi => self.stalls.iter().map(StallGauge::level).max().unwrap_or_default(),
            Cause::Machine => self.machine.level(),
            Cause::Cgroup => self.cgroup.level(),
        };
        let heard = self.events.iter().filter(|event| event.alarm.cause == cause).map(|event| event.alarm.level);
        heard.fold(seen, Pressure::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Stall;
    use super::*;
    use proptest::prelude::*;

    fn used(percent: usize) -> MemoryReading {
        MemoryReading { used: percent, limit: 100 }
    }

    fn told(barometer: &mut Barometer, now: Instant) -> (Pressure, Option<Cause>) {
        let Verdict { level, cause, .. } = barometer.verdict(now);
        (level, cause)
    }

    #[test]
    fn the_worst_cause_is_the_one_that_is_told() {
        let (mut barometer, now) = (Barometer::default(), Instant::now());
        assert_eq!(told(&mut barometer, now), (Pressure::Low, None));
        barometer.see(used(97), Sight::default(), now);
        assert_eq!(told(&mut barometer, now), (Pressure::Critical, Some(Cause::Pool)));
        assert_eq!(barometer.verdict(now).of_system, Pressure::Low);
        let of_system = Sight { machine: Some(used(70)), cgroup: Some(used(85)), ..Sight::default() };
        barometer.see(used(0), of_system, now);
        assert_eq!(told(&mut barometer, now), (Pressure::High, Some(Cause::Cgroup)));
        let stall = Some(Stall { some: 99.0, full: 50.0, ..Stall::default() });
        barometer.see(used(0), Sight { stalls: [None, stall], ..of_system }, now);
        assert_eq!(told(&mut barometer, now), (Pressure::Critical, Some(Cause::Psi)));
        let all = [Pressure::Low, Pressure::Critical, Pressure::Medium, Pressure::High];
        assert_eq!(barometer.verdict(now).by_cause, all);
    }

    #[test]
    fn an_event_holds_for_a_time_and_the_last_of_several_counts() {
        let (mut barometer, begin) = (Barometer::default(), Instant::now());
        let alarm = Alarm { cause: Cause::Psi, level: Pressure::Medium };
        barometer.hear(alarm, begin);
        let later = begin + Duration::from_secs(2);
        barometer.hear(alarm, later);
        let almost = EVENT_HOLDS - Duration::from_millis(1);
        assert_eq!(told(&mut barometer, later + almost), (Pressure::Medium, Some(Cause::Psi)));
        assert_eq!(told(&mut barometer, later + EVENT_HOLDS), (Pressure::Low, None));
        barometer.hear(Alarm { level: Pressure::Low, ..alarm }, later);
        assert_eq!(told(&mut barometer, later), (Pressure::Low, None));
    }

    proptest! {
        #[test]
        fn the_level_is_never_below_any_cause_and_events_never_pile_up(
            steps in prop::collection::vec((0usize..=100, 0usize..=100, 0usize..=100, 0usize..4, 0usize..4, 0u64..4_000), 1..60)
        ) {
            let mut barometer = Barometer::default();
            let mut now = Instant::now();
            let mut heard: Vec<(Instant, Pressure)> = Vec::new();
            for (pool, machine, cgroup, cause, level, pause_ms) in steps {
                now += Duration::from_millis(pause_ms);
                let sight = Sight { machine: Some(used(machine)), cgroup: Some(used(cgroup)), ..Sight::default() };
                barometer.see(used(pool), sight, now);
                let alarm = Alarm { cause: Cause::ALL[cause], level: Pressure::ALL[level] };
                barometer.hear(alarm, now);
                heard.push((now, alarm.level));
                let verdict = barometer.verdict(now);
                let seen = [pool, machine, cgroup].map(|percent| Pressure::of(percent, 100)).into_iter().max().unwrap();
                let held = heard.iter().filter(|(at, _)| *at + EVENT_HOLDS > now).map(|&(_, level)| level).max().unwrap();
                prop_assert!(verdict.level >= seen.max(held));
                prop_assert_eq!(verdict.level, verdict.by_cause.into_iter().max().unwrap());
                prop_assert_eq!(verdict.cause.map(|cause| verdict.by_cause[cause as usize]).unwrap_or_default(), verdict.level);
                prop_assert!(verdict.of_system <= verdict.level);
                prop_assert!(barometer.events.len() <= Cause::ALL.len() * 3);
            }
        }
    }
}
