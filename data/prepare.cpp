#include "data/prepare.h"

#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "data/text_reader.h"
#include "data/token_file_writer.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPartBytes = size_t{256} << 10, kMaxDocumentBytes = size_t{256} << 20;

// Encodes documents of any length part by part.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, int32_t end_id, TokenFileWriter& writer)
      : tokenizer_(tokenizer), end_id_(end_id), writer_(writer) {}

  void add(std::string_view text) {
    while (!text.empty()) {
      const size_t part = std::min(text.size(), wanted_bytes_ - pending_.size());
      pending_ += text.substr(0, part);
      text.remove_prefix(part);
      if (pending_.size() < wanted_bytes_) return;
      encode({.first = first_, .last = false});
      // Whatever could not be cut is not looked at again before it has doubled.
      wanted_bytes_ = 2 * pending_.size() + kPartBytes;
      if (pending_.size() > kMaxDocumentBytes)
        throw DataError(
            fmt::format("[data] {} in a document that tokenizer {} can only encode as a whole. Split the document: "
                        "JSON lines have one in each line.",
                        format_bytes(static_cast<int64_t>(pending_.size())), tokenizer_.name()));
    }
  }

  void end() {
    encode({.first = first_, .last = true});
    if (num_tokens_ > 0) writer_.append({&end_id_, 1});
    writer_.end_document();
    num_tokens_ = 0;
    wanted_bytes_ = kPartBytes;
    first_ = true;
  }

 private:
  void encode(Tokenizer::Part part) {
    ids_.clear();
    const size_t taken = tokenizer_.encode_part(pending_, part, ids_);
    pending_.erase(0, taken);
    first_ = first_ && taken == 0;
    num_tokens_ += ids_.size();
    writer_.append(ids_);
  }

  const Tokenizer& tokenizer_;
  const int32_t end_id_;
  TokenFileWriter& writer_;
  std::string pending_;
  size_t wanted_bytes_ = kPartBytes;  // of `pending_`, before a part of it is encoded
  bool first_ = true;
  std::vector<int32_t> ids_;
  size_t num_tokens_ = 0;
};

// Reads the documents of one file after another.
class DocumentReader {
 public:
  DocumentReader(const PrepareRequest& request, DocumentEncoder& encoder, std::function<void(int64_t)> on_read)
      : request_(request), encoder_(encoder), on_read_(std::move(on_read)) {}

  void read(const std::string& path, std::FILE* standard_input) {
    TextReader file(path, standard_input);
    std::string block;
    file.read(block);
    recognised_ = request_.format == TextFormat::kAuto
                      ? recognise_text(path, block, block.size() < TextReader::kBlockBytes)
                      : Recognised{request_.format};
    if (!recognised_.problem.empty()) throw file.error(recognised_.problem);
    recognised_.format == TextFormat::kJsonLines ? read_lines(file, block) : read_text(file, block);
  }

  int64_t skipped_lines() const { return skipped_lines_; }
  const std::string& first_skipped() const { return first_skipped_; }

 private:
  // The next block; the bytes before it are done.
  bool next(TextReader& file, std::string& block) {
    const bool more = file.read(block);
    on_read_(file.bytes_read() - std::exchange(done_bytes_, file.bytes_read()));
    if (!more) done_bytes_ = 0;
    return more;
  }

  void read_text(TextReader& file, std::string& block) {
    do encoder_.add(block);
    while (next(file, block));
    encoder_.end();
  }

  void read_lines(TextReader& file, std::string& block) {
    std::string line;
    bool too_long = false;
    int64_t number = 0;
    if (block.starts_with(kByteOrderMark)) block.erase(0, kByteOrderMark.size());
    const auto take_line = [&] {
      ++number;
      if (too_long)
        bad_line(file, number,
                 fmt::format("longer than {}. Split the document", format_bytes(int64_t{kMaxDocumentBytes})));
      else if (line.find_first_not_of(" \t\r") != std::string::npos)
        document_of_line(file, number, line);
      line.clear();
      too_long = false;
    };
    do {
      std::string_view rest = block;
      for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
        if (!too_long) line += rest.substr(0, end);
        take_line();
      }
      if (!too_long) line += rest;
      if (line.size() > kMaxDocumentBytes) too_long = true, line.clear();
    } while (next(file, block));
    if (too_long || !line.empty()) take_line();
  }

  void document_of_line(const TextReader& file, int64_t number, std::string_view line) {
    const TextLine read = text_of_line(line);
    if (!read.problem.empty())
      return bad_line(
          file, number,
          fmt::format("{}. Mend or remove the line, or leave such lines out with --skip-bad-lines{}", read.problem,
                      request_.format == TextFormat::kAuto ? "; --format text takes the file as plain text" : ""));
    encoder_.add(read.text);
    encoder_.end();
  }

  void bad_line(const TextReader& file, int64_t number, const std::string& what) {
    DataError error = file.error(number, what);
    if (!request_.skip_bad_lines) throw error;
    if (skipped_lines_++ == 0) first_skipped_ = fmt::format("{}:{}: {}", file.name(), number, what);
  }

  const PrepareRequest& request_;
  DocumentEncoder& encoder_;
  std::function<void(int64_t)> on_read_;
  Recognised recognised_;
  int64_t done_bytes_ = 0, skipped_lines_ = 0;
  std::string first_skipped_;
};

int64_t total_size(const std::vector<std::string>& texts) {
  int64_t total = 0;
  for (const std::string& text : texts) {
    std::error_code unknown;
    const auto size = text == "-" ? 0 : fs::file_size(text, unknown);
    if (text == "-" || unknown) return 0;
    total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace

PreparedInfo prepare(const PrepareRequest& request, const Tokenizer& tokenizer, std::FILE* standard_input,
                     const std::function<void(const PrepareProgress&)>& progress) {
  if (tokenizer.marks().ends.empty())
    throw DataError(fmt::format(
        "[tokenizer] {} names no end of text, need one between documents. Put the model's config.json or "
        "tokenizer_config.json, which say it, beside the tokenizer.",
        tokenizer.name()));
  require_own_outputs(request.out);
  TokenFileWriter writer(request.out, tokenizer.vocab_size());
  DocumentEncoder encoder(tokenizer, tokenizer.marks().ends.front(), writer);
  PrepareProgress state{.total_bytes = total_size(request.texts)};
  const auto on_read = [&](int64_t bytes) {
    state.bytes += bytes;
    state.tokens = writer.num_tokens();
    state.documents = writer.num_documents();
    if (progress) progress(state);
  };
  DocumentReader reader(request, encoder, on_read);
  for (const std::string& path : request.texts) reader.read(path, standard_input);
  if (writer.num_documents() == 0 && reader.skipped_lines() > 0)
    throw DataError(fmt::format("[data] every line is bad. The first: {}.", reader.first_skipped()));
  PreparedInfo info{.tokenizer = tokenizer.name(),
                    .tokenizer_hash = tokenizer.hash(),
                    .vocab_size = tokenizer.vocab_size(),
                    .num_documents = writer.num_documents(),
                    .skipped_lines = reader.skipped_lines(),
                    .first_skipped = reader.first_skipped()};
  AtomicFile info_file(fs::path(request.out) += ".json");
  writer.finish(request.valid_fraction, [&](TokenFileWriter::Split split) {
    info.train_tokens = split.train_tokens;
    info.valid_tokens = split.valid_tokens;
    info_file.write(to_json_text(info));
    info_file.sync();
  });
  info_file.publish();
  on_read(0);
  return info;
}

}  // namespace trine
