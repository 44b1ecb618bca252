// When the rows of a batch live, and which steps a call computes, as Python says it: fusedrnn._cuda.Rows and Steps.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cuda/intake.h"
#include "cuda/problem.h"

namespace fusedrnn::python {

// Rows of one batch in one direction; keeps the arrays alive that it points to.
class DeviceRows {
 public:
  DeviceRows(int64_t steps, int64_t rows, bool reverse, bool batch_major, const py::object& row,
             const py::object& length, const py::object& first, std::vector<int64_t> first_on_host,
             const py::object& reset)
      : arrays_(py::make_tuple(row, length, first, reset)), first_(std::move(first_on_host)) {
    constexpr const char* kName = "Rows";
    if (steps < 0 || rows < 0) throw py::value_error("Rows: steps and rows must be >= 0");
    rows_.steps = steps, rows_.rows = rows, rows_.reverse = reverse, rows_.batch_major = batch_major;
    rows_.row = dense<const int64_t>(row, {kName, "row", "(B,)", {rows}});
    rows_.length = dense<const int64_t>(length, {kName, "length", "(B,)", {rows}});
    rows_.first = dense<const int64_t>(first, {kName, "first", "(T + 1,)", {steps + 1}});
    rows_.reset = sequence<const uint8_t>(reset, {kName, "reset", "(T, B)", {steps, rows}});
    const bool all = rows_.row != nullptr && rows_.length != nullptr && rows_.first != nullptr;
    const bool none = row.is_none() && length.is_none() && first.is_none();
    if (!(all && first_.size() == static_cast<size_t>(steps) + 1) && !(none && first_.empty()))
      throw py::value_error("Rows: row, length, first and first_on_host must all be given, or none of them");
    for (size_t s = 0; s + 1 < first_.size(); ++s)
      if (first_[s + 1] - first_[s] < 0 || first_[s + 1] - first_[s] > rows)
        throw py::value_error("Rows: first must rise by at most B a step");
  }

  bool packed() const { return rows_.first != nullptr; }

  // The places of the steps [begin, end), from the first one to before the last.
  std::pair<int64_t, int64_t> places(int64_t begin, int64_t end) const {
    const int64_t T = rows_.steps, B = rows_.rows;
    const std::string came = ", got " + std::to_string(begin) + " and " + std::to_string(end);
    if (begin < 0 || begin > end || end > T)
      throw py::value_error("Rows: begin and end must rise in [0, T] = [0, " + std::to_string(T) + "]" + came);
    if (packed()) return {first_[begin], first_[end]};
    if (!rows_.batch_major) return {(rows_.reverse ? T - end : begin) * B, (rows_.reverse ? T - begin : end) * B};
    if (begin != 0 || end != T)
      throw py::value_error("Rows: begin and end must be 0 and T = " + std::to_string(T) + " for batch-major places" +
                            came);
    return {0, T * B};
  }

  const int64_t* first() const { return packed() ? first_.data() : nullptr; }
  const std::vector<int64_t>& first_places() const { return first_; }
  const cuda::Rows& view() const { return rows_; }

 private:
  cuda::Rows rows_{};
  py::tuple arrays_;
  std::vector<int64_t> first_;
};

// The steps of a call and of what is kept, as Python gives them.
struct Steps {
  int64_t begin, end;
  bool enters;
  int64_t saved_begin, saved_end;

  cuda::Part part(const DeviceRows& rows) const {
    if (begin < saved_begin || end > saved_end)
      throw py::value_error("Steps: begin and end must lie in those of the saved, [" + std::to_string(saved_begin) +
                            ", " + std::to_string(saved_end) + "], got " + std::to_string(begin) + " and " +
                            std::to_string(end));
    return {begin, end, enters, rows.places(begin, end).first, saved_begin, rows.places(saved_begin, saved_end).first};
  }
};

}  // namespace fusedrnn::python
