"""``backcast game``: exact best responses, certified equilibria, the gap of an agent, games as text problems."""

from backcast.cli.game.gap import Gap, gap, show_gap
from backcast.cli.game.nash import Nash, nash, show_nash
from backcast.cli.game.reply import Reply, reply, show_reply
from backcast.cli.game.text import Text, show_text, text

VERBS = {
    "reply": (Reply, reply, show_reply),
    "nash": (Nash, nash, show_nash),
    "gap": (Gap, gap, show_gap),
    "text": (Text, text, show_text),
}
