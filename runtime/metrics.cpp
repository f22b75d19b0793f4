#include "runtime/metrics.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/input_file.h"
#include "base/json.h"

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

// Of the header: 0. Nothing for what is no line of ours.
std::optional<int64_t> step_of(std::string_view line) {
  try {
    const Json json = parse_json(line);
    if (!json.is_object()) return std::nullopt;
    const auto step = json.find("step");
    return step != json.end() && step->is_number_integer() ? step->get<int64_t>() : 0;
  } catch (const JsonError&) {
    return std::nullopt;
  }
}

// How many bytes the lines up to a step take, the header among them. Cut in place: at no moment are they not there.
// DataError if they can not be read: a failed read must not cut them off.
int64_t bytes_until(const std::filesystem::path& path, int64_t step) {
  if (!is_there(path)) return 0;
  const InputFile file(path);
  int64_t at = 0, kept = 0;
  bool past = false;
  std::string rest;  // a last line without its end was cut off
  file.read_blocks(0, file.size(), [&](std::span<const std::byte> block) {
    rest.append(reinterpret_cast<const char*>(block.data()), block.size());
    std::string_view lines = rest;
    for (size_t end; !past && (end = lines.find('\n')) != std::string_view::npos; lines.remove_prefix(end + 1)) {
      at += static_cast<int64_t>(end) + 1;
      const std::optional<int64_t> of = step_of(lines.substr(0, end));
      past = of && *of > step;
      if (of && !past) kept = at;
    }
    rest.erase(0, rest.size() - lines.size());
  });
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
