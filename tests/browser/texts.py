"""Texts that a model may write."""

RICH = """\
LRU（Least Recently Used）缓存会在容量满时淘汰**最久没有使用**的那一项。下面用 `OrderedDict` 实现，再看看复杂度。

## 实现

```python
from collections import OrderedDict


class LRUCache:
    \"\"\"容量满时，淘汰最久没有使用的一项。\"\"\"

    def __init__(self, capacity: int) -> None:
        self._items = OrderedDict()
        self._capacity = capacity

    def get(self, key, default=None):
        if key not in self._items:
            return default
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key, value):
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._capacity:  # 超出容量
            self._items.popitem(last=False)
```

## 比较

| 做法 | 读取 | 写入 | 额外空间 | 说明 |
|:--|:-:|:-:|--:|:--|
| `OrderedDict` | O(1) | O(1) | n | 标准库，最省事 |
| 字典 + 双向链表 | O(1) | O(1) | 2n | 面试常考 |
| 列表 | O(n) | O(n) | n | 只适合很小的容量 |

命中率为 \\(h\\)、缓存耗时 $t_c$、回源耗时 $t_m$ 时，平均耗时是

\\[
\\bar t = h \\cdot t_c + (1 - h) \\cdot t_m
\\]

要点：

1. 每次 `get` 都要把这一项移到末尾；
2. 写入后检查容量：
   - 没超出，什么也不做；
   - 超出，删掉最前面的一项。
3. 多线程时需要加锁，或者直接用 `functools.lru_cache`。

> 提示：Python 3.7 之后的 `dict` 也保持插入顺序，但没有 `move_to_end`。

更多内容见 [官方文档](https://docs.python.org/3/library/collections.html)。
"""

WORDS = "春眠不觉晓处闻啼鸟夜来风雨声花落知多少白日依山尽黄河入海流欲穷千里目更上一层楼床前明月光疑是地上霜举头望低"


def long_answer(chars: int) -> str:
    """Return about `chars` characters of paragraphs, headings and lists that do not repeat."""
    parts, size, n = [], 0, 0
    while size < chars:
        line = "".join(WORDS[(n * 7 + k * k * (n % 5 + 1)) % len(WORDS)] for k in range(180))
        part = f"## 第 {n} 节\n\n{line}。\n\n- {line[:40]}\n- **{line[40:60]}**"
        parts.append(part)
        size += len(part)
        n += 1
    return "\n\n".join(parts)


def wide_table(columns: int) -> str:
    """Return a table with `columns` columns."""
    rows = [[f"第 {row} 行第 {column} 列" for column in range(columns)] for row in range(6)]
    head, rule = rows[0], ["---"] * columns
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows[1:]))
