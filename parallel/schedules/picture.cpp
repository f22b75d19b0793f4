#include "parallel/schedules/picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"

namespace trine {
namespace {

struct Kind {
  ActionKind kind;
  std::string_view name;
  std::array<int, 3> colour;  // red, green, blue
};
constexpr std::array<Kind, 4> kKinds{{{ActionKind::kForward, "F forward", {66, 133, 244}},
                                      {ActionKind::kBackward, "B backward", {52, 168, 83}},
                                      {ActionKind::kInputGrad, "I input gradient", {0, 172, 193}},
                                      {ActionKind::kWeightGrad, "W weight gradient", {251, 140, 0}}}};

constexpr double kLeft = 64, kTop = 40, kRowHeight = 26, kPitch = 32, kLegendWidth = 190;

// A rank's stages, in order: the index is the chunk.
std::vector<int> chunks(const Schedule& schedule) {
  std::set<int> stages;
  for (const Action& action : schedule) stages.insert(action.stage);
  return {stages.begin(), stages.end()};
}

// Later chunks are paler.
std::string fill(const Kind& kind, size_t chunk, size_t num_chunks) {
  const double white = 0.65 * static_cast<double>(chunk) / static_cast<double>(num_chunks);
  const auto mix = [&](int c) { return static_cast<int>(std::lround(c + (255 - c) * white)); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(kind.colour[0]), mix(kind.colour[1]), mix(kind.colour[2]));
}

const Kind& find_kind(ActionKind kind) {
  return *std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.kind == kind; });
}

// Pixels per unit of time: the shortest action still shows its microbatch.
double pixels_per_time(const Timing& run) {
  double shortest = run.end;
  for (const auto& spans : run.spans)
    for (const Span& span : spans)
      if (span.end > span.start) shortest = std::min(shortest, span.end - span.start);
  return shortest > 0 ? std::max(22 / shortest, 800 / run.end) : 1;
}

std::string box(double x, double y, double width, std::string_view colour, std::string_view label,
                std::string_view hint) {
  return fmt::format(
      "<g><title>{}</title><rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\" "
      "stroke=\"#ffffff\"/><text x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"middle\">{}</text></g>\n",
      hint, x, y, width, kRowHeight, colour, x + width / 2, y + 17, label);
}

std::string row(size_t rank, const Schedule& schedule, const std::vector<Span>& spans, double scale) {
  const double y = kTop + kPitch * static_cast<double>(rank);
  const std::vector<int> stages = chunks(schedule);
  std::string text = fmt::format("<text x=\"8\" y=\"{:.2f}\">rank {}</text>\n", y + 17, rank);
  for (size_t i = 0; i < schedule.size(); ++i) {
    const Action& a = schedule[i];
    const auto chunk = static_cast<size_t>(std::find(stages.begin(), stages.end(), a.stage) - stages.begin());
    text += box(kLeft + spans[i].start * scale, y, (spans[i].end - spans[i].start) * scale,
                fill(find_kind(a.kind), chunk, stages.size()), std::to_string(a.microbatch),
                fmt::format("{}: {:g} to {:g}", to_string(a), spans[i].start, spans[i].end));
  }
  return text;
}

// A line per chunk: the kinds that occur, in that chunk's colours.
std::string legend(const std::set<ActionKind>& kinds, size_t num_chunks, double y) {
  std::string text;
  for (size_t chunk = 0; chunk < num_chunks; ++chunk) {
    double x = kLeft;
    for (const Kind& kind : kKinds) {
      if (!kinds.contains(kind.kind)) continue;
      text += fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"16\" height=\"16\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}{}</text>\n",
          x, y, fill(kind, chunk, num_chunks), x + 22, y + 13, kind.name,
          num_chunks > 1 ? fmt::format(", chunk {}", chunk) : "");
      x += kLegendWidth;
    }
    y += 22;
  }
  return text;
}

}  // namespace

std::string schedule_svg(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times,
                         std::string_view remark) {
  const Timing run = time_schedules(schedules, times);
  const double scale = pixels_per_time(run);
  std::string rows;
  std::set<ActionKind> kinds;
  std::set<int> microbatches;
  size_t num_chunks = 1;
  for (size_t r = 0; r < schedules.size(); ++r) {
    rows += row(r, schedules[r], run.spans[r], scale);
    num_chunks = std::max(num_chunks, chunks(schedules[r]).size());
    for (const Action& action : schedules[r]) kinds.insert(action.kind), microbatches.insert(action.microbatch);
  }
  const std::string title = fmt::format("pp {}, {} microbatches: bubble {:.1f} %{}", schedules.size(),
                                        microbatches.size(), 100 * bubble_fraction(schedules, times), remark);
  const double legend_y = kTop + kPitch * static_cast<double>(schedules.size()) + 12;
  const double width = kLeft + std::max(run.end * scale, kLegendWidth * static_cast<double>(kinds.size())) + 16;
  const double height = legend_y + 22 * static_cast<double>(num_chunks) + 8;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
      "{1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{2}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
      "<text x=\"8\" y=\"24\" font-size=\"15\">{2}</text>\n{3}{4}</svg>\n",
      width, height, title, rows, legend(kinds, num_chunks, legend_y));
}

std::string schedule_rows(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times,
                          double unit) {
  const Timing run = time_schedules(schedules, times);
  const auto cells = [&](double time) { return static_cast<size_t>(std::lround(time / unit)); };
  const auto label = [&](const Action& a) {
    const std::string text = to_string(a);
    return times.size() == schedules.size() ? text.substr(text.find(static_cast<char>(a.kind))) : text;
  };
  size_t width = 0;  // of a cell, with a space
  for (const Schedule& schedule : schedules)
    for (const Action& action : schedule) width = std::max(width, label(action).size() + 1);
  std::string text;
  for (size_t r = 0; r < schedules.size(); ++r) {
    std::string line;
    for (size_t cell = 0; cell < cells(run.end); ++cell) line += fmt::format("{:<{}}", ".", width);
    for (size_t i = 0; i < schedules[r].size(); ++i) {
      const Span& span = run.spans[r][i];
      const size_t begin = cells(span.start) * width, size = (cells(span.end) - cells(span.start)) * width;
      if (size == 0) continue;
      std::string name = fmt::format("{:-<{}}", label(schedules[r][i]), size - 1);
      line.replace(begin, size, size == width ? fmt::format("{:<{}}", label(schedules[r][i]), width) : name + " ");
    }
    text += fmt::format("rank {} | {}\n", r, line.substr(0, line.find_last_not_of(' ') + 1));
  }
  return text;
}

}  // namespace trine
