# %% [markdown]
# # A chat room, watched from a notebook
# A script in cells (VS Code, PyCharm and Jupytext open it as a notebook). It runs from top to bottom, too.

# %%
import os
from collections import Counter
from itertools import islice

from examples.chat.app import ChatRoom
from zocket import connect_sync

# %%
client = connect_sync(os.environ.get("CHAT_URL", "ws://localhost:3000"))
room = client.actor(ChatRoom, os.environ.get("CHAT_ROOM", "general"))
print("connection:", client.status)

# %% The present state; leaving the iteration ends the subscription.
state = next(client.state(room))
print(len(state.messages), "messages so far,", len(state.online), "online")

# %% A word of our own, and the next three of others. The subscription is there before we speak.
with client.events(room, ChatRoom.posted) as messages:
    client.call(room.join, name="Notebook")
    client.call(room.post, text="Good morning! Who is here?")
    for message in islice(messages, 3):
        print(f"{message.author}: {message.text}")

# %% Any Python takes it from here: states are plain Pydantic models.
state = next(client.state(room))
for author, count in Counter(message.author for message in state.messages).most_common():
    print(f"{count:3} by {author}")

# %%
client.close()
