// One file of all ranks, for Perfetto: a process each, with the arrows of messages between them.
#pragma once

#include <filesystem>

#include "trace/trace.h"

namespace trine {

// Compressed where `path` ends in .gz. A file for viewers: read_trace() refuses it and says what to name instead.
// DataError if it cannot be written whole.
void write_merged_trace(const Trace& trace, const std::filesystem::path& path);

}  // namespace trine
