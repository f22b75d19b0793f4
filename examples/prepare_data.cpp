// prepare_data: text files to token files that train_llama reads with --data.
#include <algorithm>
#include <cstdio>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/program.h"
#include "base/terminal.h"
#include "base/text.h"
#include "data/prepare.h"
#include "examples/commands.h"
#include "examples/program_flags.h"

namespace trine {
namespace {

// A bar on a terminal, a plain line every ten seconds anywhere else. Both go to stderr.
class ProgressPrinter {
 public:
  void operator()(const PrepareProgress& state) {
    if (seconds_since(last_ns_) < (is_terminal_ ? 0.1 : 10)) return;
    last_ns_ = now_ns();
    shown_ = true;
    const double seconds = seconds_since(start_ns_), rate = static_cast<double>(state.bytes) / seconds;
    std::string line = fmt::format("{} tokens | {} documents | {}/s", format_count(state.tokens),
                                   format_count(state.documents), format_bytes(static_cast<int64_t>(rate)));
    if (state.total_bytes > 0) {
      const double done = std::min(1.0, static_cast<double>(state.bytes) / static_cast<double>(state.total_bytes));
      const auto filled = static_cast<size_t>(done * kWidth);
      line = fmt::format("{}{:3.0f} % of {} | {} | eta {}",
                         is_terminal_ ? fmt::format("[{:-<{}}] ", std::string(filled, '#'), kWidth) : "",
                         done * 100, format_bytes(state.total_bytes), line,
                         format_duration(static_cast<double>(state.total_bytes - state.bytes) / rate));
    } else {
      line = fmt::format("{} | {}", format_bytes(state.bytes), line);
    }
    say(stderr, "{}{}{}", is_terminal_ ? "\r\x1b[K" : "", line, is_terminal_ ? "" : "\n");
  }
  ~ProgressPrinter() {  // the bar makes way for the summary, or for an error
    if (is_terminal_ && shown_) say(stderr, "\r\x1b[K");
  }

 private:
  static constexpr size_t kWidth = 24;
  const bool is_terminal_ = can_erase_lines(STDERR_FILENO);
  const int64_t start_ns_ = now_ns();
  int64_t last_ns_ = start_ns_;
  bool shown_ = false;
};

ExitCode run(int argc, const char* const* argv) {
  PrepareRequest request;
  std::string tokenizer_spec = "bytes", format = "auto", out;
  CLI::App app("Makes token files from text, for train_llama --data PREFIX-train --valid-data PREFIX-valid.",
               "prepare_data");
  app.add_option("TEXT", request.texts,
                 "text (a document each) or JSON lines (a document per line, in its field \"text\"), plain or in "
                 "gzip; - for stdin")
      ->type_name("FILE...")
      ->group("Text");
  app.add_option("--format", format,
                 "auto sees JSON lines by name and contents, and refuses JSON in other forms (default: auto)")
      ->type_name("auto|text|jsonl")
      ->group("Text");
  app.add_flag("--skip-bad-lines", request.skip_bad_lines,
               "leave out lines that are no JSON object with a \"text\", and count them")
      ->group("Text");
  app.add_option("--tokenizer", tokenizer_spec,
                 "bytes, a SentencePiece .model, a tokenizer.json, or a folder with one (default: bytes)")
      ->type_name("bytes|FILE|DIR")
      ->group("Text");
  app.add_option("--out", out, "writes PREFIX-train.{bin,idx}, PREFIX-valid.{bin,idx} and PREFIX.json")
      ->type_name("PREFIX")
      ->group("Output");
  with_numbers<double>(app.add_option("--valid-fraction", request.valid_fraction,
                                      "the last part of all tokens, for validation (default: 0.05)"))
      ->type_name("F")
      ->group("Output");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  request.out = out;
  if (request.texts.empty())
    problems.add("flags", "no TEXT, need at least one file. Name the files, or - for stdin.");
  if (const auto known = parse_text_format(format))
    request.format = *known;
  else
    problems.add("flags", "--format is {}, need auto, text or jsonl.", format);
  if (out.empty()) problems.add("flags", "no --out, need a prefix for the token files. Give --out PREFIX.");
  if (!(request.valid_fraction >= 0 && request.valid_fraction < 1)) {
    problems.add("flags", "--valid-fraction is {}, need 0 <= F < 1.", request.valid_fraction);
  }
  if (std::count(request.texts.begin(), request.texts.end(), "-") > 1) {
    problems.add("flags", "- stands twice among the texts, but stdin can be read once. Leave one out.");
  }
  problems.throw_if_any();

  const auto tokenizer = make_tokenizer(tokenizer_spec);
  if (!tokenizer->note().empty()) say(stderr, "warning: {}\n", tokenizer->note());
  const PreparedInfo info = [&] {
    ProgressPrinter progress;
    return prepare(request, *tokenizer, stdin, std::ref(progress));
  }();
  if (info.skipped_lines > 0)
    say(stderr, "warning: {} bad lines left out; the first: {}.\n", info.skipped_lines, info.first_skipped);
  say(stdout, "{} documents, {} tokens for training in {}-train.bin, {} for validation{}\n",
      format_count(info.num_documents), format_count(info.train_tokens), out, format_count(info.valid_tokens),
      info.valid_tokens > 0 ? fmt::format(" in {}-valid.bin", out) : "");
  return ExitCode::kOk;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) { return trine::run_program("prepare_data", trine::run, argc, argv); }
