// The one clock that everything is timed by, and how far it is from another host's.
#pragma once

#include <cstdint>

namespace trine {

// CLOCK_MONOTONIC: of all processes of one boot of a host that are in the same time namespace. Costs some tens of
// nanoseconds. It is steady_clock too, in which the standard library's waits take their deadlines.
int64_t now_ns();
double seconds_since(int64_t begin_ns);

// Returns once now_ns() is `time_ns`, or a signal came.
void sleep_until(int64_t time_ns);

double wall_clock_s();  // since 1970

// What added to now_ns() gives the wall clock, as it is set now.
int64_t wall_clock_base_ns();

struct ClockOffset {
  int64_t offset_ns = 0;  // to be added to this rank's clock for rank 0's
  int64_t error_ns = 0;   // the offset is right within this much, at the time it is meant for
  bool operator==(const ClockOffset&) const = default;
};

}  // namespace trine
