#include "base/json_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <sstream>

#include "base/error.h"

namespace memwall {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// A value as an error message shows it: short, on one line.
std::string shown(const Json& value) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    constexpr std::size_t kLongest = 60;
    if (text.size() > kLongest) text = text.substr(0, kLongest - 3) + "...";
    return text;
}

/// One step of a JSON pointer (RFC 6901).
std::string escaped(std::string_view key) {
    std::string out;
    for (const char c : key) {
        if (c == '~')
            out += "~0";
        else if (c == '/')
            out += "~1";
        else
            out += c;
    }
    return out;
}

std::string integer_range(std::int64_t lowest, std::int64_t highest) {
    return fmt::format("an integer from {} to {}", lowest, highest);
}

std::string number_range(double lowest, double highest) {
    return fmt::format("a number from {:g} to {:g}", lowest, highest);
}

struct Place {
    std::size_t line = 1, column = 1;
};

Place place_of(std::string_view text, std::size_t byte) {
    Place place;
    for (std::size_t i = 0; i < std::min(byte, text.size()); ++i) {
        if (text[i] == '\n') {
            ++place.line;
            place.column = 1;
        } else {
            ++place.column;
        }
    }
    return place;
}

/// nlohmann's own message without its "[json.exception...] parse error at line 1, column 2: " front.
std::string parser_message(const Json::exception& e) {
    std::string message = e.what();
    for (const std::string_view front : {"syntax error ", "] "}) {
        if (const auto at = message.find(front); at != std::string::npos) return message.substr(at + front.size());
    }
    return message;
}

}  // namespace

JsonReader::JsonReader(const Json& root, std::string file, Mode mode, std::string pointer)
    : value_(&root),
      file_(std::move(file)),
      pointer_(std::move(pointer)),
      mode_(mode),
      known_(std::make_shared<std::set<std::string, std::less<>>>()) {}

JsonReader JsonReader::child(std::string_view key, const Json& value) const {
    return JsonReader(value, file_, mode_, pointer_ + "/" + escaped(key));
}

const Json* JsonReader::lookup(std::string_view key) const {
    if (!value_->is_object()) fail("an object");
    known_->emplace(key);
    const auto it = value_->find(key);
    return it == value_->end() ? nullptr : &*it;
}

JsonReader JsonReader::require(std::string_view key, const std::string& allowed) const {
    if (const Json* value = lookup(key)) return child(key, *value);
    throw InputError(file_ + ": " + pointer_ + "/" + escaped(key), "nothing (the field is missing)", allowed);
}

bool JsonReader::has(std::string_view key) const {
    return lookup(key) != nullptr;
}

JsonReader JsonReader::at(std::string_view key) const {
    return require(key, "a value: the field is required");
}

std::optional<JsonReader> JsonReader::find(std::string_view key) const {
    const Json* value = lookup(key);
    if (value == nullptr || value->is_null()) return std::nullopt;
    return child(key, *value);
}

std::vector<std::string> JsonReader::keys() const {
    if (!value_->is_object()) fail("an object");
    std::vector<std::string> out;
    for (const auto& [key, value] : value_->items()) out.push_back(key);
    return out;
}

void JsonReader::finish() const {
    if (mode_ == Mode::lenient || !value_->is_object()) return;
    for (const auto& [key, value] : value_->items()) {
        if (known_->contains(key)) continue;
        const std::vector<std::string> known(known_->begin(), known_->end());
        throw InputError(file_ + ": " + pointer_ + "/" + escaped(key), "an unknown field \"" + key + "\"",
                         known.empty() ? "no field here"
                                       : fmt::format("the nearest known field is \"{}\"; all of them: {}",
                                                     nearest_name(key, known), joined(known)));
    }
}

std::vector<JsonReader> JsonReader::elements() const {
    if (!value_->is_array()) fail("a list");
    std::vector<JsonReader> out;
    out.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i) out.push_back(child(std::to_string(i), (*value_)[i]));
    return out;
}

double JsonReader::as_number(double lowest, double highest) const {
    if (!value_->is_number()) fail(number_range(lowest, highest));
    const auto number = value_->get<double>();
    if (!(number >= lowest && number <= highest)) fail(number_range(lowest, highest));
    return number;
}

std::int64_t JsonReader::as_integer(std::int64_t lowest, std::int64_t highest) const {
    const auto allowed = [&] { return integer_range(lowest, highest); };
    if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX) fail(allowed());
    if (value_->is_number_float()) {  // 4096.0 is an integer too
        const auto number = value_->get<double>();
        if (number != std::floor(number) || std::abs(number) > 9e15) fail(allowed());
    } else if (!value_->is_number_integer()) {
        fail(allowed());
    }
    const auto integer = value_->get<std::int64_t>();
    if (integer < lowest || integer > highest) fail(allowed());
    return integer;
}

bool JsonReader::as_bool() const {
    if (!value_->is_boolean()) fail("true or false");
    return value_->get<bool>();
}

std::string JsonReader::as_string() const {
    if (!value_->is_string()) fail("a string");
    return value_->get<std::string>();
}

std::string JsonReader::as_choice(std::span<const std::string> allowed) const {
    if (value_->is_string()) {
        auto text = value_->get<std::string>();
        if (std::ranges::find(allowed, text) != allowed.end()) return text;
    }
    fail(fmt::format("one of \"{}\"", joined(allowed, "\", \"")));
}

double JsonReader::number(std::string_view key, double lowest, double highest) const {
    return require(key, number_range(lowest, highest)).as_number(lowest, highest);
}

double JsonReader::number_or(std::string_view key, double fallback, double lowest, double highest) const {
    const auto value = find(key);
    return value ? value->as_number(lowest, highest) : fallback;
}

std::int64_t JsonReader::integer(std::string_view key, std::int64_t lowest, std::int64_t highest) const {
    return require(key, integer_range(lowest, highest)).as_integer(lowest, highest);
}

std::int64_t JsonReader::integer_or(std::string_view key, std::int64_t fallback, std::int64_t lowest,
                                    std::int64_t highest) const {
    const auto value = find(key);
    return value ? value->as_integer(lowest, highest) : fallback;
}

std::string JsonReader::string(std::string_view key) const {
    return require(key, "a string").as_string();
}

std::string JsonReader::string_or(std::string_view key, std::string_view fallback) const {
    const auto value = find(key);
    return value ? value->as_string() : std::string(fallback);
}

bool JsonReader::boolean_or(std::string_view key, bool fallback) const {
    const auto value = find(key);
    return value ? value->as_bool() : fallback;
}

std::string JsonReader::choice(std::string_view key, std::span<const std::string> allowed) const {
    return require(key, fmt::format("one of \"{}\"", joined(allowed, "\", \""))).as_choice(allowed);
}

std::string JsonReader::where() const {
    return file_ + ": " + (pointer_.empty() ? "/" : pointer_);
}

void JsonReader::fail(const std::string& allowed) const {
    fail(shown(*value_), allowed);
}

void JsonReader::fail(const std::string& found, const std::string& allowed) const {
    throw InputError(where(), found, allowed);
}

std::string read_text(const fs::path& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) throw InputError(path.string(), "no such file", "a file that can be read");
    if (fs::is_directory(path, ignored)) throw InputError(path.string(), "a folder", "a file that can be read");
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (in) text << in.rdbuf();
    // An empty file sets failbit on `text` alone: only a stream that never opened, or broke, is an error.
    if (!in.is_open() || in.bad()) {
        throw InputError(path.string(), fmt::format("a file that cannot be read ({})", std::strerror(errno)),
                         "a file that can be read");
    }
    return std::move(text).str();
}

Json load_json(const fs::path& path) {
    return parse_json(read_text(path), path.string());
}

Json parse_json(std::string_view text, const std::string& name) {
    // nlohmann keeps the last of two equal keys in silence; a description that says a thing twice is a mistake.
    std::vector<std::set<std::string>> open_objects;
    const auto no_key_twice = [&](int, Json::parse_event_t event, Json& parsed) {
        if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
        if (event == Json::parse_event_t::object_end) open_objects.pop_back();
        if (event == Json::parse_event_t::key && !open_objects.back().insert(parsed.get<std::string>()).second) {
            throw InputError(name, fmt::format("the field {} twice in one object", parsed.dump()), "each field once");
        }
        return true;
    };
    try {
        return Json::parse(text, no_key_twice);
    } catch (const Json::parse_error& e) {
        const Place place = place_of(text, e.byte > 0 ? e.byte - 1 : 0);
        throw InputError(
            fmt::format("{}: line {}, column {}: not JSON: {}", name, place.line, place.column, parser_message(e)));
    } catch (const Json::exception& e) {
        throw InputError(fmt::format("{}: not JSON: {}", name, parser_message(e)));
    }
}

void atomic_write(const fs::path& path, std::string_view text) {
    const fs::path temporary = path.string() + ".tmp";
    const auto give_up = [&](const std::string& why) {
        std::error_code ignored;
        if (fs::is_regular_file(temporary, ignored)) fs::remove(temporary, ignored);
        throw HostError(fmt::format("{}: cannot be written: {}", path.string(), why));
    };
    errno = 0;
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (!out) give_up(std::strerror(errno));
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    out.close();  // a full disk may show only here
    if (!out) give_up(errno != 0 ? std::strerror(errno) : "the write failed");
    std::error_code error;
    fs::rename(temporary, path, error);
    if (error) give_up(error.message());
}

double rounded(double value, int digits) {
    if (value == 0 || !std::isfinite(value)) return 0;
    const double scale = std::pow(10.0, digits - std::ceil(std::log10(std::abs(value))));
    return std::round(value * scale) / scale;
}

std::string joined(std::span<const std::string> items, std::string_view separator) {
    std::string out;
    for (const std::string& item : items) {
        if (!out.empty()) out.append(separator);
        out.append(item);
    }
    return out;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
    const auto distance = [&](const std::string& other) {  // Levenshtein, one row at a time
        std::vector<std::size_t> row(other.size() + 1);
        std::iota(row.begin(), row.end(), std::size_t{0});
        for (std::size_t i = 1; i <= name.size(); ++i) {
            std::size_t diagonal = row[0];
            row[0] = i;
            for (std::size_t j = 1; j <= other.size(); ++j) {
                const std::size_t replaced = diagonal + (name[i - 1] == other[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
            }
        }
        return row.back();
    };
    const auto best = std::ranges::min_element(candidates, {}, distance);
    return best == candidates.end() ? std::string{} : *best;
}

}  // namespace memwall
