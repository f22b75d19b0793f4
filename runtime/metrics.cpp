#include "runtime/metrics.h"

#include <fmt/core.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file_system.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const StepMetrics& m) {
  Json line = {{"step", m.step},
               {"loss", m.loss},
               {"grad_norm", optional(m.grad_norm)},
               {"lr", m.lr},
               {"tokens", m.tokens},
               {"tokens_per_s", m.tokens_per_s},
               {"step_s", m.time.step_s},
               {"tflops", m.tflops}};
  if (m.mfu) line["mfu"] = *m.mfu;
  line["memory_peak_bytes"] = m.memory_peak_bytes;
  line["loss_scale"] = m.loss_scale;
  line["skipped"] = m.skipped;
  for (int k = 0; k < kNumEventKinds; ++k) {
    const EventKind kind = static_cast<EventKind>(k);
    line[fmt::format("{}_s", name(kind))] = m.time[kind];
  }
  // Beside the sum, not part of it.
  for (Axis axis : {Axis::kTp, Axis::kPp, Axis::kDp})
    line["hidden_comm"][fmt::format("{}_s", name(axis))] = m.time.hidden(axis);
  return line;
}

}  // namespace

namespace {

// How many bytes the lines up to a step take, the header among them. Cut in place: at no moment are they not there.
// DataError if they can not be read: a failed read must not cut them off.
int64_t bytes_until(const std::filesystem::path& path, int64_t step) {
  if (!is_there(path)) return 0;
  std::ifstream file(path, std::ios::binary);
  const auto check = [&](bool good) {
    if (!good) throw_file_error("[run folder]", path, "read");
  };
  check(file.is_open());
  int64_t at = 0, kept = 0;
  for (std::string line; std::getline(file, line) && !file.eof();) {  // a last line without its end was cut off
    at += std::ssize(line) + 1;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    const auto of = json.find("step");
    if (of != json.end() && of->is_number_integer() && of->get<int64_t>() > step) break;
    kept = at;
  }
  check(!file.bad());
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& path, const MetricsHeader& header,
                             std::optional<int64_t> resumed_step)
    : file_(path, resumed_step ? bytes_until(path, *resumed_step) : 0) {
  if (file_.size() > 0) return;
  const Mesh& mesh = header.layout;
  unwritten_header_ = Json{{"version", header.version},
                           {"commit", header.commit},
                           {"layout", {{"pp", mesh.pp}, {"dp", mesh.dp}, {"tp", mesh.tp}}},
                           {"model", header.model},
                           {"parameters", header.num_parameters}}
                          .dump() +
                      "\n";
  write_text("");
}

void MetricsWriter::write(const StepMetrics& metrics) { write_text(to_json(metrics).dump() + "\n"); }

void MetricsWriter::write_validation(int64_t step, double valid_loss) {
  write_text(Json{{"step", step}, {"valid_loss", valid_loss}}.dump() + "\n");
}

void MetricsWriter::write_text(const std::string& line) {
  if (file_.append(unwritten_header_ + line)) unwritten_header_.clear();
}

}  // namespace trine
