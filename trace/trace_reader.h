// Traces that a run or a prediction has written, back as data: read(write(x)) = x.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "plan/config/config.h"
#include "trace/trace.h"

namespace trine {

// Which part of a trace is read.
struct TraceSelection {
  int64_t first_step = 1, last_step = std::numeric_limits<int64_t>::max();  // both included
  RankList ranks;
};

// The files of `where`: itself, or of a folder (a run's, or one that holds traces) rank-*.json.gz and rank-*.json,
// those of resumed parts (from-step-*) after what came before. Sorted. DataError if there is none, and if both
// forms of a file stand side by side.
std::vector<std::filesystem::path> trace_files(const std::filesystem::path& where);

// Reads one file after another, each as a stream. Memory: the events that are kept (64 bytes each). What several
// files say of the same rank is put together; of a step that stands in two, the later file counts. DataError, with
// the file and the byte: a file that is cut, damaged, no JSON or no trace of ours; files of different runs'
// layouts; nothing left of the selection.
Trace read_trace(std::span<const std::filesystem::path> files, const TraceSelection& selection = {});
Trace read_trace(const std::filesystem::path& where, const TraceSelection& selection = {});

}  // namespace trine
