// A rank's trace as Chrome / Perfetto JSON, in the fields that Kineto writes, so that Holistic Trace Analysis, the
// TensorBoard plugin and Perfetto read it rightly. docs/traces.md describes the file.
#pragma once

#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "trace/gzip_member.h"
#include "trace/trace.h"

namespace trine {

class EventFormat;

// What stands in the file of one rank besides its steps.
struct TraceHeader {
  Mesh mesh;
  int rank = 0;
  std::string backend = "mpi";  // see Trace
  ModelledTime modelled;
  std::string host, device;
  ClockOffset clock;           // at the start
  int64_t origin_unix_ns = 0;  // see Trace
  std::vector<NodeLabel> nodes;
};

TraceHeader header_of(const Trace& trace, const RankTrace& rank);

// Where a write fails, its step is left out; training goes on (see OutputFile).
class TraceWriter {
 public:
  // Compressed where `path` ends in .gz. The file never exceeds `max_bytes`, unless the header alone does.
  TraceWriter(const std::filesystem::path& path, const TraceHeader& header,
              int64_t max_bytes = std::numeric_limits<int64_t>::max());
  ~TraceWriter();

  // The file is whole after every step, so that a run that is killed leaves a trace that opens. A step that does
  // not fit in max_bytes is the first that is not written: from then on none is, and full() says so.
  void write_step(const StepTrace& step);
  bool full() const { return full_; }

  OutputFile& file() { return file_; }

 private:
  void write(std::string text, int64_t max_bytes);

  OutputFile file_;
  const int64_t max_bytes_;
  std::unique_ptr<EventFormat> format_;
  std::optional<GzipMember> gzip_;
  std::string unwritten_;   // header and row names, until they are in the file
  int64_t end_offset_ = 0;  // where the file's end begins, which the next step overwrites
  bool full_ = false;
};

// rank-0000.json.gz (or .json) of each rank, in `folder`. DataError if one cannot be written whole.
void write_trace(const Trace& trace, const std::filesystem::path& folder, bool compressed = true);

}  // namespace trine
