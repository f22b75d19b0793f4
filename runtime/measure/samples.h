// How many measurements of one thing become a number, and what it says of its family: pure functions.
#pragma once

#include <span>
#include <vector>

#include "cluster/cpu_profile.h"

namespace trine {

// What samples are compared with: those up to 1.15 times the first decile count. Others on the machine only ever make
// one longer, so a plain mean or median is theirs, too. REQUIRES: samples.
double quiet_limit(std::vector<double> samples);
// The mean of those. 0 without samples.
double quiet_mean(const std::vector<double>& samples);

// Of things that a disturbance makes larger or smaller: the one in the middle, or the mean of two. REQUIRES: values.
double median(std::vector<double> values);

// constant_us and giga_per_s through the measured shapes: least squares of relative errors, with neither below
// zero. One shape: a rate alone; shapes that take no longer with more work: a constant alone.
void fit(CpuOpCost& cost);

// How much of an op's time streams, from `times_slower` it got when all cores were busy: memory gets
// `memory_slower`, all else `core_slower`. 0 to 1.
double streaming_part(double times_slower, double memory_slower, double core_slower);

}  // namespace trine
