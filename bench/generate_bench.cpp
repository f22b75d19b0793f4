// Generation beside the bound that memory sets: a decode step reads every weight once, so it takes at least the
// time of reading as many bytes, measured in turns with the steps.
//
//   generate_bench --model bench-m --dtype bf16 --threads 2 --prompt 128 --tokens 64
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/core.h>
#include <iostream>
#include <numeric>

#include "base/clock.h"
#include "base/text.h"
#include "base/trace_event.h"
#include "models/presets.h"
#include "runtime/generation/generator.h"

namespace trine {
namespace {

double seconds_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-9; }

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Seconds to read them all, by all threads.
double read_seconds(std::span<const int64_t> words, int threads) {
  const int64_t begin = now_ns();
  int64_t sum = 0;
  const auto count = std::ssize(words);
  const int64_t* const data = words.data();
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += data[i];
  const double seconds = seconds_since(begin);
  if (sum != count) throw std::runtime_error("lost words");
  return seconds;
}

void run(const std::string& model, DType dtype, int threads, int64_t prompt_size, int64_t tokens) {
  const Preset* preset = find_preset(model);
  if (preset == nullptr) throw std::runtime_error("no preset " + model);
  const InferenceShape shape{.block = prompt_size, .max_seq = prompt_size + tokens + 1, .dtype = dtype};
  const InferencePlan plan = build_inference_plan(preset->model, shape, 1, threads);
  const auto backend = make_cpu_backend(threads);
  Generator generator(plan, *backend);
  generator.set_parameters(initial_values(plan.graph, 1));
  std::vector<int32_t> prompt(static_cast<size_t>(prompt_size));
  std::iota(prompt.begin(), prompt.end(), 0);
  generator.prefill(prompt);
  generator.rewind();
  const int64_t begin = now_ns();
  generator.prefill(prompt);
  const double prefill = seconds_since(begin);

  const int64_t bytes = plan.decode_bytes(prompt_size + tokens / 2);
  const auto memory = backend->allocate(bytes);  // in huge pages, as the weights are
  const std::span words(reinterpret_cast<int64_t*>(memory->data()), static_cast<size_t>(bytes / 8));
  std::fill(words.begin(), words.end(), 1);
  std::vector<double> steps, reads;
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t start = now_ns();
    generator.decode(static_cast<int32_t>(i));
    steps.push_back(seconds_since(start));
    reads.push_back(read_seconds(words, threads));
  }
  fmt::print("{} {}, {}; a step reads {}; prefill of {} tokens {:.0f} tok/s\n", model, name(dtype),
             backend->describe(), format_bytes(bytes), prompt_size, static_cast<double>(prompt_size) / prefill);
  const auto report = [bytes](const char* what, double step, double read) {
    fmt::print(
        "{:6} decode {:.1f} tok/s, {:.2f} ms, {:.1f} GB/s; reading alone {:.2f} ms, {:.1f} GB/s: "
        "{:.0f} % of the bound\n",
        what, 1 / step, step * 1e3, static_cast<double>(bytes) / step * 1e-9, read * 1e3,
        static_cast<double>(bytes) / read * 1e-9, read / step * 100);
  };
  report("median", median(steps), median(reads));
  report("best", *std::min_element(steps.begin(), steps.end()), *std::min_element(reads.begin(), reads.end()));
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  CLI::App app("Generation, and the bound that memory sets.");
  std::string model = "bench-m", dtype = "bf16";
  int threads = 2;
  int64_t prompt = 128, tokens = 64;
  app.add_option("--model", model, "preset");
  app.add_option("--dtype", dtype, "bf16 or f32")->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--threads", threads, "of OpenMP");
  app.add_option("--prompt", prompt, "tokens");
  app.add_option("--tokens", tokens, "to generate");
  CLI11_PARSE(app, argc, argv);
  try {
    trine::run(model, dtype == "f32" ? trine::DType::kF32 : trine::DType::kBF16, threads, prompt, tokens);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
