#include "trace/merge.h"

#include "base/error.h"
#include "base/output_file.h"
#include "trace/event_format.h"

namespace trine {
namespace {

// A text file, or a gzip file of one member.
class MergedFile {
 public:
  explicit MergedFile(const std::filesystem::path& path) : file_(path) {
    if (path.extension() == ".gz") gzip_.emplace();
  }
  void append(const std::string& text) { put(gzip_ ? gzip_->append(text) : text); }
  void end(const std::string& text) { put(gzip_ ? gzip_->end(text) : text); }

 private:
  void put(const std::string& bytes) {
    if (!bytes.empty() && !file_.append(bytes))
      throw DataError(file_.take_warning().value_or("[trace] the merged trace cannot be written."));
  }

  OutputFile file_;
  std::optional<GzipMember> gzip_;
};

}  // namespace

void write_merged_trace(const Trace& trace, const std::filesystem::path& path) {
  MergedFile file(path);
  bool first = true;
  for (const RankTrace& rank : trace.ranks) {
    EventFormat format(header_of(trace, rank));
    file.append(first ? format.merged_header() : ",\n" + format.rows());
    first = false;
    for (const StepTrace& step : rank.steps) file.append(format.step(step));
  }
  file.end("\n]}\n");
}

}  // namespace trine
