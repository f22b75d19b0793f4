// Which layouts (tp, pp, dp and the batch over them) a model can be trained on, and which valid ones are near.
#pragma once

#include <string>
#include <vector>

#include "plan/config/config.h"

namespace trine {

inline constexpr int64_t kMaxBatch = 1 << 24;  // sequences
inline constexpr int64_t kMaxSeq = 1 << 24;    // tokens

// Adds a problem for each thing that keeps `config` from running on `num_ranks` ranks, and one that lists the
// nearest valid layouts.
void validate_layout(const Config& config, int num_ranks, Problems& problems);

// The same question without words, for those who try many.
bool layout_is_valid(const Config& config, int num_ranks);

// Flags that, added to a command line, make its layout valid on as many ranks: "--tp 2 --pp 6", "--global-batch
// 48". Nearest first: layouts that keep the batch come before those that change it.
std::vector<std::string> nearest_layouts(const Config& config, int num_ranks, size_t most = 3);

// What is valid but slow, and what to change: too few microbatches for the pipeline, with the bubble that it costs; a
// vocabulary that tensor cores multiply slowly.
std::vector<std::string> layout_warnings(const Config& config);

}  // namespace trine
