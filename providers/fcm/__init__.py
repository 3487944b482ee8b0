"""FCM HTTP v1: firebase-admin's messages, credentials and error classes on our transport."""
