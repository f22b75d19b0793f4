// What cutting a staged collective into pieces gains: the real loop (comm/staged_pieces.h) over copies that take a
// modelled device's time, and an exchange that takes a modelled wire's. No GPU is needed.
//
//   staged_bench --copy-gb-s 12 --wire-gb-s 6
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/core.h>

#include "base/clock.h"
#include "base/text.h"
#include "comm/staged_pieces.h"
#include "runtime/device/rehearsal/modelled_timeline.h"

namespace trine {
namespace {

void sleep_until(int64_t time_ns) {
  const timespec at{.tv_sec = time_ns / 1'000'000'000, .tv_nsec = time_ns % 1'000'000'000};
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

double staged_s(int64_t bytes, int64_t piece_bytes, double copy, double wire) {
  ModelledTimeline timeline(0);
  const Queue out(Lane::kCopy), in(Lane::kPp);
  const StagedPieces pieces{bytes, piece_bytes};
  const auto ns = [&](int64_t piece, double rate) {
    return static_cast<int64_t>(static_cast<double>(pieces.size(piece)) / rate * 1e9);
  };
  std::array<Mark, StagedPieces::kAhead> marks{};
  const auto mark = [&](int64_t piece) -> Mark& {
    return marks[static_cast<size_t>(piece % StagedPieces::kAhead)];
  };
  const int64_t begin = now_ns();
  int64_t wire_end = begin;
  pieces.run([&](int64_t piece) { timeline.work(out, ns(piece, copy)), mark(piece) = timeline.mark(out); },
             [&](int64_t piece) { timeline.synchronize(mark(piece)); },
             [&](int64_t piece) { sleep_until(wire_end = std::max(wire_end, now_ns()) + ns(piece, wire)); },
             [&](int64_t piece) { timeline.work(in, ns(piece, copy)); });
  timeline.synchronize_all();
  return static_cast<double>(now_ns() - begin) * 1e-9;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  double copy = 12, wire = 6;
  CLI::App app("A staged collective, whole and in pieces");
  app.add_option("--copy-gb-s", copy, "between device and host, a direction");
  app.add_option("--wire-gb-s", wire, "of the exchange between ranks");
  CLI11_PARSE(app, argc, argv);
  fmt::print("| bytes | whole, ms | in pieces of 4 MiB, ms | slowest part alone, ms |\n|---|---|---|---|\n");
  for (const int64_t mib : {4, 16, 64, 256}) {
    const int64_t bytes = mib << 20;
    const double whole = trine::staged_s(bytes, bytes, copy * 1e9, wire * 1e9),
                 cut = trine::staged_s(bytes, int64_t{4} << 20, copy * 1e9, wire * 1e9);
    fmt::print("| {} | {:.2f} | {:.2f} | {:.2f} |\n", trine::format_bytes(bytes), whole * 1e3, cut * 1e3,
               static_cast<double>(bytes) / (std::min(copy, wire) * 1e9) * 1e3);
  }
}
