// What a run says of times that are not this machine's; and what stands in for numbers in a rehearsal, whose kernels
// compute none: what the host reads of a step, and what its checkpoints say of data that nobody reads.
#pragma once

#include <optional>

#include "base/modelled_device.h"
#include "checkpoint/manifest.h"
#include "plan/config/config.h"
#include "runtime/step/executor.h"
#include "trace/trace.h"

namespace trine {

// As traces and metrics.jsonl say it. REQUIRES: a dilation that is found, of emulated links.
ModelledTime modelled_time(const Config& config);

// The identity of its data and of its tokenizer.
inline constexpr const char* kRehearsed = "rehearsal";

// Every token counts and every step is applied; the loss and the gradient's norm are no numbers (NaN).
void write_rehearsed_scalars(Executor& executor, const Config& config);

// ConfigError if a run may not go on from this checkpoint: it is a training's, or of another model.
void check_same_rehearsal(const Manifest& manifest, const Config& config);

// How fast checkpoints are copied to the host, which training waits for, and to the disk behind it.
struct ModelledSave {
  double copied_bytes_per_s = 0, saved_bytes_per_s = 0;
};

}  // namespace trine
