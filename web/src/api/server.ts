/** The server's own settings and its mails. */
import { api, dataOf, type Schemas } from "./client.ts";

export type Environment = Schemas["Environment"];
export type Mail = Schemas["Notification"];

export async function getEnvironment(): Promise<Environment> {
  return await dataOf(api.GET("/api/admin/config/env"));
}

export async function sendTestMail(recipient: string): Promise<void> {
  await api.POST("/api/admin/config/mail/test/{recipient}", { params: { path: { recipient } } });
}

export async function listMails(limit: number): Promise<Mail[]> {
  return (await dataOf(api.GET("/api/admin/notifications", { params: { query: { limit } } }))).notifications;
}
