#include "trace/trace_writer.h"

#include "base/error.h"
#include "trace/event_format.h"

namespace trine {
namespace {
constexpr std::string_view kEnd = "\n]}\n";
}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& path, const TraceHeader& header, int64_t max_bytes)
    : file_(path), max_bytes_(max_bytes), format_(std::make_unique<EventFormat>(header)) {
  if (path.extension() == ".gz") gzip_.emplace();
  unwritten_ = format_->header();
  write({}, std::numeric_limits<int64_t>::max());
}

TraceWriter::~TraceWriter() = default;

void TraceWriter::write_step(const StepTrace& step) {
  if (!full_) write(format_->step(step), max_bytes_);
}

// The file's end is overwritten by what comes next, so the file is whole at any time but during a write.
void TraceWriter::write(std::string text, int64_t max_bytes) {
  text.insert(0, unwritten_);
  std::optional<GzipMember> packed = gzip_;
  std::string bytes = packed ? packed->append(text) : std::move(text);
  const auto size = static_cast<int64_t>(bytes.size());
  bytes += packed ? packed->end(kEnd) : kEnd;
  full_ = end_offset_ + std::ssize(bytes) > max_bytes;
  if (full_) return;
  if (file_.write_from(end_offset_, bytes)) {
    end_offset_ += size;
    unwritten_.clear();
    if (packed) gzip_ = std::move(packed);
  } else if (end_offset_ > 0) {
    file_.append(gzip_ ? gzip_->end(kEnd) : std::string(kEnd));
  }
}

TraceHeader header_of(const Trace& trace, const RankTrace& rank) {
  const auto stage = static_cast<size_t>(rank.coordinate.pp);
  return {.mesh = trace.mesh,
          .rank = rank.rank,
          .backend = trace.backend,
          .modelled = trace.modelled,
          .host = rank.host,
          .device = rank.device,
          .clock = rank.steps.empty() ? ClockOffset{} : rank.steps.front().clock,
          .origin_unix_ns = trace.origin_unix_ns,
          .nodes = stage < trace.nodes.size() ? trace.nodes[stage] : std::vector<NodeLabel>{}};
}

void write_trace(const Trace& trace, const std::filesystem::path& folder, bool compressed) {
  for (const RankTrace& rank : trace.ranks) {
    TraceWriter writer(folder / (rank_name(rank.rank) + (compressed ? ".json.gz" : ".json")),
                       header_of(trace, rank));
    for (const StepTrace& step : rank.steps) writer.write_step(step);
    if (const auto warning = writer.file().take_warning()) throw DataError(*warning);
  }
}

}  // namespace trine
